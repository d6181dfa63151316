"""Every experiment file is a run or a plan that the command line accepts, and stands in the index."""

from pathlib import Path

import pytest
import yaml

from lightning_marlhf.commands import cli
from lightning_marlhf.commands.study import read_plan

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "experiments").rglob("*.yaml"))
PLANS = [path for path in FILES if "stages" in yaml.safe_load(path.read_text())]
RUNS = [path for path in FILES if path not in PLANS]


def name(path):
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", RUNS, ids=name)
def test_a_run_is_accepted_by_the_command_line(path):
    cli.check(["fit", "--config", str(path)])


@pytest.mark.parametrize("path", RUNS, ids=name)
def test_a_run_writes_to_a_folder_named_after_its_file(path):
    place = path.relative_to(ROOT / "experiments").with_suffix("")
    assert yaml.safe_load(path.read_text())["trainer"]["default_root_dir"] == f"runs/{place}"


@pytest.mark.parametrize("path", PLANS, ids=name)
def test_a_plan_names_stages_that_exist(path):
    assert read_plan(path).stages


@pytest.mark.parametrize("path", FILES, ids=name)
def test_the_index_names_every_file(path):
    assert (
        f"`{path.relative_to(ROOT / 'experiments')}`"
        in (ROOT / "experiments/README.md").read_text()
    )


@pytest.mark.parametrize("path", [path for path in RUNS if "ppo" in path.stem], ids=name)
def test_the_runs_that_are_compared_differ_in_termination_and_horizon_alone(path):
    def settings(path):
        tree = yaml.safe_load(path.read_text())
        del tree["trainer"]["default_root_dir"]
        del tree["model"]["init_args"]["termination"]["init_args"]["n"]
        del tree["model"]["init_args"]["credit"]["lam"]
        return tree

    assert settings(path) == settings(path.with_name("ppo.yaml"))
