import functools
import sys
from pathlib import Path

import pytest

from lightning_marlhf.commands import reproduce
from lightning_marlhf.run_folder import STUDY_LOCK_FILE
from lightning_marlhf.run_lock import alone_in
from lightning_marlhf.studies import job_state

PROGRAM = (sys.executable, str(Path(__file__).parents[1] / "fake_run.py"))
PLAN = """
title: a study
output: {folder}/out
stages:
  - {{name: sft, config: stage.yaml}}
  - {{name: ppo, config: stage.yaml, inputs: {{model.policy: sft}}}}
quick: {{output: {folder}/quick, set: {{sft: {{steps: 1}}}}}}
"""


@pytest.fixture
def plan(tmp_path, monkeypatch):
    """A plan whose stages are fake runs, with nothing to check in their configs."""
    monkeypatch.setattr(reproduce, "make_jobs", functools.partial(job_state.make_jobs, program=PROGRAM))
    monkeypatch.setattr(reproduce, "check_runs", lambda *_, **__: {})
    (tmp_path / "stage.yaml").write_text("trainer: {}\n")
    path = tmp_path / "plan.yaml"
    path.write_text(PLAN.format(folder=tmp_path))
    return path


def run(plan, *arguments) -> int:
    return reproduce.main(["reproduce", str(plan), *map(str, arguments)])


def test_all_stages_run_once_and_a_second_call_skips_them(plan, tmp_path, capsys):
    assert run(plan) == 0
    assert "all stages finished" in capsys.readouterr().out
    assert (tmp_path / "out/ppo/seed-1/done.json").is_file()
    assert run(plan) == 0
    assert capsys.readouterr().out.count("finished before") == 2


def test_quick_goes_to_its_own_folder(plan, tmp_path):
    assert run(plan, "--quick") == 0
    assert (tmp_path / "quick/sft/seed-1/done.json").is_file()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("given", "seeds"), [("3", {1, 2, 3}), ("5,7", {5, 7}), ("[4]", {4})])
def test_seeds_are_a_number_of_them_or_a_list(plan, tmp_path, given, seeds):
    assert run(plan, "--seeds", given, "--output", tmp_path / "there", "--jobs", 3) == 0
    assert {int(path.name[5:]) for path in (tmp_path / "there/ppo").iterdir()} == seeds


def test_a_dry_run_says_what_would_be_run_and_runs_nothing(plan, tmp_path, capsys):
    assert run(plan, "--dry-run") == 0
    text = capsys.readouterr().out
    assert "sft (seed 1): run" in text
    assert f"--model.policy={tmp_path}/out/sft/seed-1/export" in text
    assert not (tmp_path / "out").exists()


def test_only_one_stage_and_only_if_its_inputs_are_there(plan, tmp_path, capsys):
    assert run(plan, "--only", "ppo") == 1
    assert "it needs sft (seed 1), which is not finished" in capsys.readouterr().out
    assert run(plan, "--only", "sft") == 0
    assert run(plan, "--only", "ppo") == 0
    assert run(plan, "--only", "sft", "--overwrite") == 0
    assert "sft (seed 1): starts from scratch" in capsys.readouterr().out


def test_stages_that_start_from_a_redone_one_are_said_to_be_stale(plan, capsys):
    run(plan)
    run(plan, "--only", "sft", "--overwrite")
    capsys.readouterr()
    assert run(plan) == 0
    assert "ppo (seed 1): was finished with other settings or inputs" in capsys.readouterr().out
    assert run(plan, "--overwrite") == 0
    capsys.readouterr()
    assert run(plan) == 0
    assert "other settings" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--only", "pop"], "--only: no stage 'pop', did you mean 'ppo'?"),
        (["--seeds", "many"], "--seeds: expected a number of seeds or a list"),
        (["--seeds", "0"], "--seeds: expected a number of seeds or a list"),
        (["--seeds", "1,1"], "--seeds: expected a number of seeds or a list"),
        (["--jobz", "2"], "--jobz: no such option, did you mean '--jobs'?"),
        (["--jobs", "0"], "--jobs: expected at least 1"),
    ],
)
def test_wrong_options_are_one_line(plan, capsys, arguments, said):
    assert run(plan, *arguments) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_a_missing_plan_is_one_line(tmp_path, capsys):
    assert run(tmp_path / "plan.yaml") == 2
    assert "no config file" in capsys.readouterr().err


def test_two_at_a_time_in_one_folder_are_refused(plan, tmp_path, capsys):
    with alone_in(tmp_path / "out", name=STUDY_LOCK_FILE):
        assert run(plan) == 1
    assert "is in use by" in capsys.readouterr().err


def test_a_wrong_config_of_any_stage_stops_the_study_before_it_starts(plan, tmp_path, monkeypatch, capsys):
    def check_here(plan, jobs, *, check, estimate):
        for job in jobs:
            check(job.command[job.command.index("fit") :])

    monkeypatch.setattr(reproduce, "check_runs", check_here)
    assert run(plan) == 2
    assert "model is missing" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


SYSTEMS = """
output: {folder}/runs
pipelines:
  any:
    scores: {{rm: RM score}}
    stages:
      - {{name: sft, config: stage.yaml}}
      - {{name: ppo, label: PPO, config: stage.yaml, inputs: {{model.policy: sft}}}}
systems:
  a/small: {{label: A, pipeline: any, configs: .}}
  b/small: {{label: B, pipeline: any, configs: .}}
"""
PAPER = """
title: a table
include: systems.yaml
rows: [{system: a/small, runs: [ppo]}, {system: b/small, runs: [ppo]}]
sections: [scores, curves, parity]
"""


@pytest.fixture
def paper(plan, tmp_path):
    """A plan of the paper whose stages are fake runs."""
    (tmp_path / "systems.yaml").write_text(SYSTEMS.format(folder=tmp_path))
    path = tmp_path / "paper.yaml"
    path.write_text(PAPER)
    return path


def test_a_row_is_run_with_all_that_it_needs_and_the_report_says_what_is_missing(paper, tmp_path, capsys):
    assert run(paper, "--only", "a/small") == 0
    assert "cost: not estimated on a CPU" in capsys.readouterr().out
    assert (tmp_path / "runs/a/small/ppo/seed-1/done.json").is_file()
    assert not (tmp_path / "runs/b").exists()
    report = (tmp_path / "runs/paper/paper/report.md").read_text()
    assert "PPO (ppo, seed 1): not started." in report
    assert run(paper, "--dry-run") == 0
    said = capsys.readouterr().out
    assert "a/small/ppo (seed 1): finished, kept" in said
    assert "b/small/ppo (seed 1): run" in said


def test_a_second_plan_finds_the_runs_of_the_first(paper, tmp_path, capsys):
    assert run(paper) == 0
    other = tmp_path / "other.yaml"
    other.write_text(PAPER.replace("a table", "another"))
    capsys.readouterr()
    assert run(other) == 0
    assert capsys.readouterr().out.count("finished before") == 4
    assert (tmp_path / "runs/paper/other/report.html").is_file()


def test_a_wrong_row_is_named_with_the_nearest(paper, capsys):
    assert run(paper, "--only", "a/smal") == 2
    assert "--only: no stage 'a/smal', did you mean 'a/small'?" in capsys.readouterr().err


def test_a_section_that_no_report_has_is_refused_before_anything_runs(paper, tmp_path, capsys):
    paper.write_text(PAPER.replace("curves", "curvess"))
    assert run(paper) == 2
    assert "sections.1: " in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()
