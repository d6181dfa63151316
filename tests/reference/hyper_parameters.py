"""Reads hyper_parameters.yaml: what an experiment of the paper has to be set to."""

from pathlib import Path

import yaml

_TABLE = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text())
_DATA_SETS = _TABLE["published"].keys()
PARAMETERS = _TABLE["parameters"]
RUNS = [
    f"{data}/{model}/{run}"
    for data, models in _TABLE["published"].items()
    for model, runs in models.items()
    for run in runs
]


def expected_settings(path):
    """Give the settings of experiments/``path``.yaml, as `flatten` does."""
    data, model, run = path.split("/")
    stages = ["ppo", run] if run.startswith("ma_ppo") else [run]
    sections = [_TABLE["every_run"]]
    for stage in stages:
        sections += [_TABLE["every_model"][stage], _TABLE[model].get(stage, {})]
    settings = {}
    for section in sections:
        settings |= flatten(_of_data_set(section, data))
    names = {"data": data, "model": model, "run": run}
    return {key: value.format(**names) if isinstance(value, str) else value for key, value in settings.items()}


def flatten(tree, prefix=""):
    """Turn a tree into full dotted names and values."""
    flat = {}
    for key, value in tree.items():
        inner = flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else None
        flat |= {f"{prefix}{key}": value} if inner is None else inner
    return flat


def _of_data_set(tree, data):
    """Choose the values of a data set; a setting that another data set alone has is left out."""
    if not isinstance(tree, dict):
        return tree
    chosen = {}
    for key, value in tree.items():
        if isinstance(value, dict) and value.keys() <= _DATA_SETS:
            if data in value:
                chosen[key] = value[data]
        else:
            chosen[key] = _of_data_set(value, data)
    return chosen
