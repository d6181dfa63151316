"""Every experiment is a run, an overlay or a plan that can be run; those of the paper are set as it says."""

from functools import cache, partial
from pathlib import Path

import pytest
import torch
import yaml

from experiments import index
from lightning_marlhf.commands import run as cli
from lightning_marlhf.models import network_factory
from lightning_marlhf.modules.base import TrainingModule
from lightning_marlhf.planning.meta_models import build_on_meta
from lightning_marlhf.studies.plan import read_plan
from tests.reference import hyper_parameters
from tests.reference.hyper_parameters import PARAMETERS, expected_settings, flatten

EXPERIMENTS = Path(__file__).parents[1] / "experiments"
FILES = sorted(EXPERIMENTS.rglob("*.yaml"))
ABLATIONS = sorted((EXPERIMENTS / "ablations").glob("*.yaml"))
OVERLAYS = [*ABLATIONS, *(EXPERIMENTS / "hardware").glob("*.yaml")]
PLANS = [path for path in FILES if "stages" in yaml.safe_load(path.read_text())]
PAPER = [*(EXPERIMENTS / "paper").glob("*.yaml")]  # see test_paper_plans.py
RUNS = [path for path in FILES if path not in (*PLANS, *PAPER, *OVERLAYS)]
TINY = [path for path in RUNS if path.is_relative_to(EXPERIMENTS / "tiny")]
COMPARED = [path for path in RUNS if "ppo" in path.stem]


def name(path):
    return str(path.relative_to(EXPERIMENTS).with_suffix(""))


def settings(path):
    return flatten(yaml.safe_load(path.read_text()))


def launch(path):
    """Read the command line in a file's header."""
    start = "#   python -m lightning_marlhf "
    (line,) = (line for line in path.read_text().splitlines() if line.startswith(start))
    return line.removeprefix(start).split()


@cache
def on_meta(source, *, classifier):
    """Build what a run starts from: a base model, or what the run that exports it starts from."""
    if source.startswith("runs/"):
        exported = EXPERIMENTS / source.removeprefix("runs/").removesuffix("/export")
        start = settings(exported.with_suffix(".yaml"))["model.init_args.model"]
        return on_meta(start, classifier=classifier)
    return build_on_meta(source, classifier=classifier)


@pytest.fixture(autouse=True)
def _in_the_root_of_the_repository(monkeypatch):
    monkeypatch.chdir(EXPERIMENTS.parent)


@pytest.fixture
def models_on_meta(monkeypatch):
    """Let modules build models of the real size that take no memory."""
    monkeypatch.setattr(TrainingModule, "tokenizer", None)
    for name, classifier in (("load_causal_lm", False), ("load_sequence_classifier", True)):
        build = partial(on_meta, classifier=classifier)
        monkeypatch.setattr(network_factory, name, lambda s, *_, _build=build, **__: _build(s))


@pytest.mark.parametrize("path", TINY, ids=name)
def test_a_tiny_run_is_accepted_by_the_command_line(path):
    cli.check(launch(path))


@pytest.mark.parametrize("path", RUNS, ids=name)
def test_a_run_writes_to_a_folder_named_after_its_file(path):
    assert settings(path)["trainer.default_root_dir"] == f"runs/{name(path)}"


@pytest.mark.parametrize("path", RUNS, ids=name)
def test_a_run_says_how_it_is_launched(path):
    assert launch(path)[:3] == ["fit", "--config", f"experiments/{name(path)}.yaml"]


@pytest.mark.parametrize("path", PLANS, ids=name)
def test_a_plan_names_stages_that_exist(path):
    assert read_plan(path).stages


@pytest.mark.parametrize("path", COMPARED, ids=name)
def test_the_runs_that_are_compared_differ_in_termination_or_horizon_alone(path):
    this, baseline = settings(path), settings(path.with_name("ppo.yaml"))
    differing = {key for key in this | baseline if this.get(key) != baseline.get(key)}
    differing.discard("trainer.default_root_dir")
    what = "credit.lam" if "horizon" in path.stem else "termination."
    assert all(key.startswith(f"model.init_args.{what}") for key in differing)
    assert differing or path.stem == "ppo"


def test_the_runs_of_the_paper_are_all_there_and_no_others():
    assert {name(path) for path in RUNS if path not in TINY} == set(hyper_parameters.RUNS)


@pytest.mark.parametrize("run", hyper_parameters.RUNS)
def test_a_run_of_the_paper_has_its_settings_and_no_others(run):
    assert settings(EXPERIMENTS / f"{run}.yaml") == expected_settings(run)


@pytest.mark.parametrize("run", hyper_parameters.RUNS)
def test_a_run_of_the_paper_trains_networks_of_the_published_size(run, models_on_meta):
    parsed = cli.RunCLI("fit", launch(EXPERIMENTS / f"{run}.yaml")[1:], build=False)
    model = parsed.parser.instantiate(parsed.config).model
    model.build_networks(network_factory.NetworkFactory(torch.device("meta")))
    base = PARAMETERS[f"google/{run.split('/')[1]}"]
    for network, module in model.networks().items():
        weights = list(module.parameters())
        head = 0 if network == "policy" else weights[0].shape[1]  # one weight per hidden unit
        assert sum(weight.numel() for weight in weights) == base + head
        assert {weight.device.type for weight in weights} == {"meta"}


@pytest.mark.parametrize("path", ABLATIONS, ids=name)
def test_an_ablation_changes_what_it_says(path):
    base = EXPERIMENTS / "tldr/gemma-2b/ppo.yaml"
    parsed = cli.RunCLI("fit", ["--config", str(base), "--config", str(path)], build=False)
    assert parsed.parser.instantiate(parsed.config).model
    merged = flatten(parsed.config.as_dict())
    changed = settings(path)
    assert {key: merged[key] for key in changed} == changed


def test_the_index_is_up_to_date():
    index.main(["--check"])


def test_an_index_that_is_not_up_to_date_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(index, "README", tmp_path / "README.md")
    index.README.write_text("old")
    with pytest.raises(SystemExit, match="is not up to date"):
        index.main(["--check"])
    index.main([])
    index.main(["--check"])


def test_the_header_of_a_file_ends_where_its_settings_begin(tmp_path):
    (tmp_path / "x.yaml").write_text("# A run.\n# Time: 2 h\n# It is: long\na: 1\n# Paper: no\n")
    assert index.read_header(tmp_path / "x.yaml") == {"What it is": "A run", "Time": "2 h"}


@pytest.mark.parametrize("path", FILES, ids=name)
def test_the_index_names_every_file(path):
    folder, *rest = path.relative_to(EXPERIMENTS).parts
    _, heading, table = index.README.read_text().partition(f"| `{folder}/` |")
    assert heading
    assert f"| `{'/'.join(rest)}` |" in table.split("\n##")[0]
