"""The plans of the paper: they name runs that exist, share them, and hold the numbers that the paper reports."""

import functools
import re
from pathlib import Path

import pytest
import yaml

from lightning_marlhf.studies.job_state import make_jobs
from lightning_marlhf.studies.plan import read_plan

ROOT = Path(__file__).parents[1]
PAPER = ROOT / "experiments/paper"
PLANS = sorted(p for p in PAPER.glob("*.yaml") if "sections" in yaml.safe_load(p.read_text()))
REFERENCE = yaml.safe_load((ROOT / "tests/reference/reported.yaml").read_text())
REPORTED = yaml.safe_load((PAPER / "reported.yaml").read_text())
MA_PPO = "ma_ppo_fixed5"


@pytest.fixture(autouse=True)
def _in_the_root_of_the_repository(monkeypatch):
    monkeypatch.chdir(ROOT)


@functools.cache
def plan_of(path, systems):
    return read_plan(path, systems=systems)


def value(number, confidence):
    return {"value": number, "confidence": confidence}


def expected_numbers():
    """The reference table in the form of reported.yaml."""
    systems: dict = {}
    for system, ppo, ma_ppo, gain, of_values, of_gain in REFERENCE["rm_scores"]:
        systems[system] = {
            "rm": {"ppo": value(ppo, of_values), MA_PPO: value(ma_ppo, of_values)},
            "gain": {MA_PPO: value(gain, of_gain)},
        }
    for system, gpt4, human, sure in REFERENCE["win_rates"]:
        systems[system]["win_rate"] = {"gpt-4": value(gpt4, sure), "human": value(human, sure)}
    for system, ppo, ma_ppo, sure in REFERENCE["rollouts_to_parity"]:
        systems[system]["rollouts"] = {"ppo": value(ppo, sure), MA_PPO: value(ma_ppo, sure)}
    for system, difficulty, gain, sure in REFERENCE["pass_at_1_gains"]:
        gains = systems.setdefault(system, {}).setdefault("pass_at_1_gain", {})
        gains[difficulty] = value(gain, sure)
    systems["every_system"] = {
        "agreement": {pair: value(share, sure) for pair, share, sure in REFERENCE["agreement"]},
        "speedup": {MA_PPO: value(*REFERENCE["speedup"])},
    }
    return systems


def test_the_reported_numbers_are_those_of_the_reference_and_no_others():
    assert expected_numbers() == REPORTED


@pytest.mark.parametrize("row", REFERENCE["rm_scores"], ids=lambda row: row[0])
def test_the_headers_of_the_runs_report_the_same_scores(row):
    system, *scores = row[:3]
    for run, score in zip(("ppo", MA_PPO), scores, strict=True):
        header = (ROOT / f"experiments/{system}/{run}.yaml").read_text()
        assert float(re.search(r"RM score (-?\d\.\d+)", header)[1]) == score


@pytest.mark.parametrize("row", REFERENCE["rm_scores"], ids=lambda row: row[0])
def test_the_reported_gains_follow_from_the_scores(row):
    _, ppo, ma_ppo, gain, *_ = row
    assert 100 * (ma_ppo - ppo) / abs(ppo) == pytest.approx(gain, abs=0.6)


def test_there_is_a_plan_for_each_table_and_figure():
    assert {path.stem for path in PLANS} == {
        *("table2_rm_scores", "win_rates", "table3_apps", "figure2_curves", "rm_distributions"),
        *("termination", "n", "value_weights", "best_of_n", "gemma_2_27b"),
    }


@pytest.mark.parametrize("systems", [None, "tiny"])
def test_plans_name_runs_that_exist_and_train_the_same_run_once(systems):
    commands: dict = {}
    for path in PLANS:
        plan = plan_of(path, systems)
        assert all(config.is_file() for stage in plan.stages for config in stage.configs), path
        jobs = make_jobs(plan)
        assert jobs, path
        for job in jobs:
            assert commands.setdefault(job.folder, job.command) == job.command


@pytest.mark.parametrize("path", PLANS, ids=lambda path: path.stem)
def test_a_tiny_plan_can_be_quick_in_a_folder_of_its_own(path):
    quick, full = read_plan(path, systems="tiny", quick=True), plan_of(path, "tiny")
    assert quick.output != full.output
    assert [stage.name for stage in quick.stages] == [stage.name for stage in full.stages]


def test_a_run_of_the_paper_is_set_as_its_own_file_says_but_for_what_it_starts_from_and_monitors():
    plan = plan_of(PAPER / "table2_rm_scores.yaml", None)
    allowed = {
        *("model.init_args.policy", "model.init_args.critic", "model.init_args.model"),
        *("model.init_args.scorer.init_args.model", "model.init_args.auxiliary_scorers"),
        *("test_after_fit", "seed_everything", "trainer.default_root_dir"),
    }
    for job in make_jobs(plan):
        keys = {word[2:].split("=")[0] for word in job.command if "=" in word}
        extra = {"data.init_args.phases"} if "heldout" in job.stage else set()
        assert keys <= allowed | extra


def test_a_system_without_substitute_is_left_out_and_named():
    plan = plan_of(PAPER / "table2_rm_scores.yaml", "tiny")
    assert list(plan.systems) == ["tldr"]
    assert plan.left_out == (*("hh_rlhf/gemma-2b", "hh_rlhf/gemma-7b", "webgpt/gemma-2b", "webgpt/gemma-7b"),)
    assert plan.report.systems[0].reported is None
