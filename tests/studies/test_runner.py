import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from rich.console import Console

from lightning_marlhf.studies.job_state import Job, Outcome, State, inspect_job, make_jobs, start_command
from lightning_marlhf.studies.plan import Plan
from lightning_marlhf.studies.progress import Monitor
from lightning_marlhf.studies.runner import Runner
from lightning_marlhf.studies.stages import Stage

PROGRAM = (sys.executable, str(Path(__file__).parents[1] / "fake_run.py"))


class Study:
    """A plan of fake runs below a temporary folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = folder / "stage.yaml"
        self.config.write_text("trainer: {max_steps: 3}\n")
        self.said = ""

    def stage(self, name, *, inputs=(), **settings):
        return Stage(name=name, config=self.config, inputs={f"input.{i}": i for i in inputs}, set=settings)

    def jobs(self, *stages, seeds=(1,)) -> list[Job]:
        plan = Plan(self.folder / "plan.yaml", "t", self.folder / "out", stages, seeds=seeds)
        return make_jobs(plan, program=PROGRAM)

    def run(self, jobs, *, workers=1, **options) -> dict[str, Outcome]:
        text = io.StringIO()
        console = Console(file=text, force_terminal=False, width=200)
        with Monitor(total=len(jobs), console=console) as monitor:
            outcomes = Runner(jobs, workers=workers, monitor=monitor, **options).run()
        self.said = text.getvalue()
        return {f"{job.stage}-{job.seed}": outcome for job, outcome in outcomes.items()}

    @property
    def events(self) -> list[str]:
        path = self.folder / "out/events.txt"
        return path.read_text().splitlines() if path.is_file() else []

    def forget_events(self) -> None:
        (self.folder / "out/events.txt").unlink(missing_ok=True)


@pytest.fixture
def study(tmp_path):
    return Study(tmp_path)


def test_a_stage_runs_after_its_inputs_and_gets_their_exports(study):
    jobs = study.jobs(study.stage("sft"), study.stage("ppo", inputs=["sft"]))
    assert study.run(jobs, workers=2) == {"sft-1": Outcome.DONE, "ppo-1": Outcome.DONE}
    assert study.events == ["start sft seed-1", "end sft seed-1", "start ppo seed-1", "end ppo seed-1"]
    assert f"--input.sft={study.folder}/out/sft/seed-1/export" in jobs[1].command
    assert "--seed_everything=1" in jobs[1].command


def test_stages_that_are_ready_run_side_by_side_and_share_the_cores(study, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(4))
    jobs = study.jobs(study.stage("a", steps=8), study.stage("b", steps=8))
    study.run(jobs, workers=2)
    assert {event.split()[0] for event in study.events[:2]} == {"start"}
    assert all("threads 2" in job.log.read_text() for job in jobs)


def test_a_stage_alone_gets_all_cores(study, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(4))
    jobs = study.jobs(study.stage("a"), study.stage("b", inputs=["a"]))
    study.run(jobs, workers=2)
    assert all("threads 4" in job.log.read_text() for job in jobs)


def test_never_more_stages_run_than_there_are_workers(study):
    study.run(study.jobs(study.stage("a"), study.stage("b"), study.stage("c")), workers=1)
    assert [event.split()[0] for event in study.events] == ["start", "end"] * 3


def test_finished_stages_are_skipped(study):
    jobs = study.jobs(study.stage("sft"), study.stage("ppo", inputs=["sft"]))
    study.run(jobs)
    study.forget_events()
    assert study.run(jobs) == {"sft-1": Outcome.KEPT, "ppo-1": Outcome.KEPT}
    assert study.events == []
    assert "[1/2] sft (seed 1): finished before" in study.said


def test_a_finished_stage_with_other_settings_is_kept_and_said(study):
    study.run(study.jobs(study.stage("sft", steps=1)))
    changed = study.jobs(study.stage("sft", steps=2))
    assert inspect_job(changed[0]) is State.STALE
    assert study.run(changed) == {"sft-1": Outcome.KEPT}
    assert "finished with other settings or inputs; kept as it is" in study.said
    assert study.run(changed, overwrite=True) == {"sft-1": Outcome.DONE}
    assert study.events[-2:] == ["start sft seed-1 --overwrite", "end sft seed-1"] or study.events[-2].endswith(
        "--overwrite"
    )
    assert inspect_job(changed[0]) is State.FINISHED


def test_a_change_of_the_yaml_makes_a_stage_stale_but_a_comment_does_not(study):
    study.run(study.jobs(study.stage("sft")))
    study.config.write_text("# a comment\ntrainer: {max_steps: 3}\n")
    assert inspect_job(study.jobs(study.stage("sft"))[0]) is State.FINISHED
    study.config.write_text("trainer: {max_steps: 4}\n")
    assert inspect_job(study.jobs(study.stage("sft"))[0]) is State.STALE


def test_redoing_a_stage_redoes_those_that_start_from_it(study):
    stages = [study.stage("ppo", inputs=["sft"]), study.stage("other")]
    study.run(study.jobs(study.stage("sft", steps=1), *stages))
    study.forget_events()
    outcomes = study.run(study.jobs(study.stage("sft", steps=2), *stages), overwrite=True)
    assert outcomes == {"sft-1": Outcome.DONE, "ppo-1": Outcome.DONE, "other-1": Outcome.KEPT}


def test_a_stage_of_its_own_can_be_redone_in_any_case(study):
    jobs = study.jobs(study.stage("sft"))
    study.run(jobs)
    assert study.run(jobs, overwrite=True, force=jobs) == {"sft-1": Outcome.DONE}


def test_a_failing_stage_shows_its_end_and_does_not_lose_the_others(study):
    jobs = study.jobs(study.stage("bad", fail="yes"), study.stage("after", inputs=["bad"]), study.stage("good"))
    outcomes = study.run(jobs)
    assert outcomes == {"bad-1": Outcome.FAILED, "after-1": Outcome.BLOCKED, "good-1": Outcome.DONE}
    assert "it went wrong here" in study.said
    assert str(jobs[0].log) in study.said
    assert "after (seed 1): not run: bad (seed 1) is missing" in study.said


def test_a_stage_that_the_machine_stopped_asks_to_be_requeued(study):
    stage = Stage(name="wins", command="win-rate", arguments="--out {self}")
    plan = Plan(study.folder / "plan.yaml", "t", study.folder / "out", (stage,))
    jobs = make_jobs(plan, program=(sys.executable, "-c", "raise SystemExit(75)"))
    assert study.run(jobs) == {"wins-1": Outcome.FAILED}
    assert "exit status 75: requeue" in study.said


def test_a_stage_whose_folder_cannot_be_made_does_not_stop_the_others(study):
    (study.folder / "out").mkdir()
    (study.folder / "out/bad").write_text("a file")
    outcomes = study.run(study.jobs(study.stage("bad"), study.stage("good")), workers=2)
    assert outcomes == {"bad-1": Outcome.BLOCKED, "good-1": Outcome.DONE}
    assert str(study.folder / "out/bad") in study.said


def test_a_failed_stage_is_tried_again(study):
    study.run(study.jobs(study.stage("bad", fail="yes")))
    assert study.run(study.jobs(study.stage("bad"))) == {"bad-1": Outcome.DONE}


def test_a_process_that_ends_well_but_leaves_no_result_has_failed(study):
    jobs = study.jobs(study.stage("sft"))
    silent = [Job(jobs[0].stage, 1, jobs[0].folder, (sys.executable, "-c", "pass"))]
    assert study.run(silent) == {"sft-1": Outcome.FAILED}


def test_ctrl_c_reaches_the_stages_and_the_same_command_resumes(study):
    jobs = study.jobs(study.stage("a", steps=200), study.stage("b", steps=200), study.stage("c", inputs=["a"]))

    def press() -> None:
        deadline = time.monotonic() + 20
        while len(study.events) < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(0.3)  # until the stages listen
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=press).start()
    outcomes = study.run(jobs, workers=2)
    assert set(outcomes.values()) == {Outcome.INTERRUPTED}
    assert sum(event.startswith("interrupted") for event in study.events) == 2
    assert "waiting for the checkpoint" in study.said
    assert inspect_job(jobs[0]) is State.INTERRUPTED

    quick = [Job(j.stage, j.seed, j.folder, (*j.command, "--steps=1"), j.needs, j.settings) for j in jobs[:2]]
    study.forget_events()
    assert set(study.run(quick, workers=2).values()) == {Outcome.DONE}
    assert sorted(e for e in study.events if e.startswith("start")) == ["start a seed-1 last", "start b seed-1 last"]
    assert "resumes from its last checkpoint" in study.said


KILLED = """
import sys
from pathlib import Path
from tests.studies.test_runner import Study
study = Study(Path(sys.argv[1]))
study.run(study.jobs(study.stage("a", steps=40), study.stage("b", inputs=["a"])))
"""


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_stage_that_outlives_a_killed_reproduce_is_waited_for(study, overwrite):
    first = subprocess.Popen([sys.executable, "-c", KILLED, str(study.folder)])
    jobs = study.jobs(study.stage("a", steps=40), study.stage("b", inputs=["a"]))
    deadline = time.monotonic() + 60
    while not jobs[0].log.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    first.kill()
    first.wait()
    assert study.run(jobs, workers=2, overwrite=overwrite) == {"a-1": Outcome.KEPT, "b-1": Outcome.DONE}
    assert study.events == ["start a seed-1", "end a seed-1", "start b seed-1", "end b seed-1"]
    assert "a (seed 1): waits for process" in study.said
    assert list(study.folder.rglob(".run.lock")) == []


def test_a_stage_that_was_cut_off_with_other_settings_waits_for_overwrite(study):
    job = study.jobs(study.stage("a", steps=2))[0]
    (job.folder / "checkpoints").mkdir(parents=True)
    (job.folder / "checkpoints/last.ckpt").write_text("half")
    (job.folder / "stage.json").write_text(json.dumps({"settings": "other", "inputs": {}}))
    assert study.run([job]) == {"a-1": Outcome.BLOCKED}
    assert "--overwrite starts it from scratch" in study.said
    assert study.run([job], overwrite=True) == {"a-1": Outcome.DONE}


def test_one_stage_alone_needs_its_inputs_finished(study):
    jobs = study.jobs(study.stage("sft"), study.stage("ppo", inputs=["sft"]))
    assert study.run(jobs[1:]) == {"ppo-1": Outcome.BLOCKED}
    assert "it needs sft (seed 1), which is not finished" in study.said


def test_every_seed_is_a_run_of_its_own(study):
    jobs = study.jobs(study.stage("sft"), study.stage("ppo", inputs=["sft"]), seeds=(1, 2))
    assert [str(job.folder.relative_to(study.folder / "out")) for job in jobs] == [
        "sft/seed-1",
        "sft/seed-2",
        "ppo/seed-1",
        "ppo/seed-2",
    ]
    assert jobs[3].needs == (jobs[1],)


@pytest.mark.parametrize(("program", "outcome"), [("pass", Outcome.DONE), ("raise SystemExit(3)", Outcome.FAILED)])
def test_an_evaluation_that_ends_well_is_marked_as_finished(study, program, outcome):
    stage = Stage(name="wins", command="win-rate", arguments="--out {self}")
    plan = Plan(study.folder / "plan.yaml", "t", study.folder / "out", (stage,))
    jobs = make_jobs(plan, program=(sys.executable, "-c", program))
    assert study.run(jobs) == {"wins-1": outcome}
    done = jobs[0].folder / "done.json"
    assert done.is_file() == (outcome is Outcome.DONE)
    if done.is_file():
        assert json.loads(done.read_text())["command"] == "win-rate"
        assert study.run(jobs) == {"wins-1": Outcome.KEPT}


def test_an_evaluation_resumes_and_starts_from_scratch_for_other_inputs(study):
    stage = Stage(name="wins", command="win-rate", arguments="--out {self}")
    plan = Plan(study.folder / "plan.yaml", "t", study.folder / "out", (stage,))
    (job,) = make_jobs(plan, program=PROGRAM)
    job.folder.mkdir(parents=True)
    assert "--overwrite" not in start_command(job, state=State.NEW)
    assert start_command(job, state=State.STALE)[-1] == "--overwrite"
