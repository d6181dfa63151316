import math

import pytest

from lightning_marlhf.files import write_json, write_text
from lightning_marlhf.reporting.load import load_run, load_system


def test_of_values_logged_twice_the_later_one_counts(tmp_path):
    rows = ["step,name,value,seconds", "1,kl,1.0,1", "2,kl,2.0,2", "2,kl,2.5,9", "3,kl,3.0,10"]
    write_text(tmp_path / "metrics.csv", "\n".join(rows))
    curve = load_run(tmp_path, stage="ppo", seed=1).metric("kl")
    assert curve.to_dict() == {1: 1.0, 2: 2.5, 3: 3.0}


def test_values_that_are_no_numbers_and_broken_lines_are_left_out(tmp_path):
    rows = ["step,name,value,seconds", "1,kl,nan,1", "2,kl,inf,2", "3,kl,3.0,3", "4,kl,4,kl,4,4", "5,k"]
    write_text(tmp_path / "metrics.csv", "\n".join(rows))
    run = load_run(tmp_path, stage="ppo", seed=1)
    assert run.metric("kl").to_dict() == {3: 3.0}
    assert run.metric("absent").empty


def test_broken_files_become_problems(tmp_path):
    write_text(tmp_path / "done.json", '{"command": ')
    write_text(tmp_path / "completions/test.jsonl", "not json\n")
    write_text(tmp_path / "metrics.csv", "a,b\n1,2\n")
    run = load_run(tmp_path, stage="ppo", seed=1)
    named = sorted(problem.split(":")[0] for problem in run.problems)
    assert named == ["done.json", "metrics.csv", "test.jsonl"]
    assert run.summary is None
    assert run.completions == ()


@pytest.mark.parametrize(
    "changed",
    [
        {"metrics": {"eval/rm": "much"}},
        {"metrics": {"eval/rm": 10**400}},
        {"metrics": [1]},
        {"metrics": 5},
        {"step": "two"},
        {"seconds": None},
        {"seconds": math.inf},
        {"seconds": math.nan},
    ],
)
def test_a_summary_that_holds_something_else_than_numbers_is_a_problem(tmp_path, changed):
    done = {"command": "fit", "step": 2, "seconds": 1.5, "metrics": {"eval/rm": 1}}
    write_json(tmp_path / "done.json", done | changed)
    run = load_run(tmp_path, stage="ppo", seed=1)
    assert run.summary is None
    assert [problem.split(":")[0] for problem in run.problems] == ["done.json"]


@pytest.mark.parametrize("content", ["[" * 100_000, '{"a":' * 50_000, "[]", "5", "\0"])
@pytest.mark.parametrize("name", ["done.json", "progress.json", "environment.json"])
def test_a_file_that_is_no_json_object_is_a_problem(tmp_path, name, content):
    write_text(tmp_path / name, content)
    run = load_run(tmp_path, stage="ppo", seed=1)
    assert [problem.split(":")[0] for problem in run.problems] == [name]
    assert run.summary is None


@pytest.mark.parametrize(
    ("progress", "state"),
    [
        ({"status": "running", "step": 40, "max_steps": 240}, "running, update 40 of 240"),
        ({"status": "interrupted"}, "interrupted"),
        ({}, "not finished"),
    ],
)
def test_an_unfinished_run_says_where_it_stands(tmp_path, progress, state):
    write_json(tmp_path / "progress.json", progress)
    assert load_run(tmp_path, stage="ppo", seed=1).state == state


def test_a_run_without_a_folder_has_not_started(tmp_path):
    assert load_run(tmp_path / "none", stage="ppo", seed=1).state == "not started"


def test_a_study_holds_its_rows_and_every_other_stage_on_disk(tmp_path, report_section, make_run):
    make_run(tmp_path / "sft/seed-1", done={"eval/loss": 0.5})
    study = load_system(report_section, output=tmp_path, seeds=[1, 2])
    assert list(dict.fromkeys(stage for stage, _ in study.runs))[:4] == [*("sft", "reward_model", "sft_eval", "ppo")]
    assert [run.seed for run in study.runs_of("ppo")] == [1, 2]
    assert study.runs_of("sft")[0].summary.metrics["eval/loss"] == 0.5
    assert math.isclose(study.runs_of("sft")[0].summary.seconds, 100.0)
    assert study.runs_of(None) == []
