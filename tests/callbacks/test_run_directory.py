import json

import pytest

from lightning_marlhf.callbacks.checkpoint import Checkpoint
from lightning_marlhf.callbacks.export import ExportHF
from lightning_marlhf.callbacks.run_directory import RunDirectory, RunExistsError
from lightning_marlhf.loggers.metrics_csv import MetricsCSV
from lightning_marlhf.loggers.tensorboard import TensorBoard
from tests.callbacks.tiny import TinyData, TinyModule, build_trainer

SAVING = {"enable_checkpointing": True}


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


def test_a_finished_fit_leaves_summary_progress_and_environment(tmp_path):
    trainer = build_trainer(tmp_path, RunDirectory(), ExportHF())
    trainer.fit(TinyModule(), datamodule=TinyData())
    done, progress, environment = (read(tmp_path / f"{n}.json") for n in ("done", "progress", "environment"))
    assert (done["command"], done["step"], done["export"]) == ("fit", 24, "export")
    assert done["metrics"]["objective/scores"] == 24.0
    assert done["seconds"] > 0
    assert set(progress) == {
        *("command", "step", "max_steps", "seconds", "eta_s", "metric", "value", "status", "updated")
    }
    assert (progress["status"], progress["step"], progress["max_steps"]) == ("done", 24, 24)
    assert (progress["metric"], progress["value"]) == ("objective/scores", 24.0)
    assert "torch" in environment["versions"]
    assert environment["hardware"]["cpu_cores"] >= 1


def test_progress_is_written_while_the_run_goes_on(tmp_path, monkeypatch):
    seen = []
    module = TinyModule()
    callback = RunDirectory()

    def look(step):
        seen.append(read(tmp_path / "progress.json"))
        callback._written_at = 0.0  # as if a second had passed

    module.hook = look
    build_trainer(tmp_path, callback).fit(module, datamodule=TinyData())
    assert [row["step"] for row in seen] == [0, 4, 8, 12, 16, 20]
    assert seen[0]["eta_s"] is None
    assert all(row["eta_s"] is not None for row in seen[1:])
    assert {row["status"] for row in seen} == {"running"}


def test_progress_is_not_written_twice_within_a_second(tmp_path):
    seen = []
    module = TinyModule()
    module.hook = lambda step: seen.append(read(tmp_path / "progress.json")["step"])
    build_trainer(tmp_path, RunDirectory()).fit(module, datamodule=TinyData())
    assert len(set(seen)) < 4  # 6 batches take less than 3 seconds


def test_a_test_after_the_fit_is_part_of_the_run(tmp_path):
    trainer = build_trainer(tmp_path, RunDirectory(test_follows=True))
    module, data = TinyModule(), TinyData()
    trainer.fit(module, datamodule=data)
    assert not (tmp_path / "done.json").exists()
    assert read(tmp_path / "progress.json")["status"] == "running"
    trainer.test(module, datamodule=data, verbose=False)
    done = read(tmp_path / "done.json")
    assert (done["command"], done["step"]) == ("fit", 24)
    assert (done["metrics"]["objective/scores"], done["metrics"]["eval/gold"]) == (24.0, 4.0)


def test_a_test_alone_is_a_run_of_its_own(tmp_path):
    build_trainer(tmp_path, RunDirectory()).test(TinyModule(), datamodule=TinyData(), verbose=False)
    done = read(tmp_path / "done.json")
    assert (done["command"], done["metrics"]) == ("test", {"eval/gold": 4.0})
    assert read(tmp_path / "progress.json")["status"] == "done"


def test_a_later_test_adds_to_the_summary_of_the_fit(tmp_path):
    build_trainer(tmp_path, RunDirectory()).fit(TinyModule(), datamodule=TinyData())
    before = read(tmp_path / "done.json")
    build_trainer(tmp_path, RunDirectory()).test(TinyModule(), datamodule=TinyData(), verbose=False)
    after = read(tmp_path / "done.json")
    assert after == {**before, "metrics": {**before["metrics"], "eval/gold": 4.0}}


@pytest.mark.parametrize("left", ["done.json", "checkpoints/last.ckpt"])
def test_a_new_run_over_another_is_refused(tmp_path, left):
    (tmp_path / left).parent.mkdir(exist_ok=True)
    (tmp_path / left).write_text("{}")
    with pytest.raises(RunExistsError, match=r"already holds a run .*--ckpt_path last.*--overwrite"):
        build_trainer(tmp_path, RunDirectory()).fit(TinyModule(), datamodule=TinyData())
    assert (tmp_path / left).read_text() == "{}"
    assert not (tmp_path / "progress.json").exists()


def test_overwrite_removes_the_old_run_but_not_what_others_put_there(tmp_path):
    def fit(callback):
        loggers = [MetricsCSV(tmp_path), TensorBoard(tmp_path)]
        trainer = build_trainer(tmp_path, callback, Checkpoint(), logger=loggers, max_steps=8, **SAVING)
        trainer.fit(TinyModule(), datamodule=TinyData())

    fit(RunDirectory())
    (tmp_path / "log.txt").write_text("theirs")
    (tmp_path / "completions").mkdir()
    (tmp_path / "metrics.csv").write_text("step,name,value,seconds\n400,old,1,1\n")
    fit(RunDirectory(overwrite=True))
    assert (tmp_path / "log.txt").read_text() == "theirs"
    assert not (tmp_path / "completions").exists()
    assert "old" not in (tmp_path / "metrics.csv").read_text()
    assert len(list(tmp_path.glob("events.out.tfevents.*"))) == 1
    assert read(tmp_path / "done.json")["step"] == 8


def test_loggers_that_have_opened_their_files_begin_anew(tmp_path):
    class Opened(MetricsCSV):
        restarts = 0

        def restart(self):
            self.restarts += 1
            super().restart()

    (tmp_path / "done.json").write_text("{}")
    logger = Opened(tmp_path)
    logger.log_metrics({"old": 1.0}, step=4)
    build_trainer(tmp_path, RunDirectory(overwrite=True), logger=logger, max_steps=8).fit(
        TinyModule(), datamodule=TinyData()
    )
    assert logger.restarts == 1
    assert (tmp_path / "metrics.csv").read_text().startswith("step,name,value,seconds\n4,objective/scores,4,")


def test_resuming_is_no_new_run_and_its_seconds_add_up(tmp_path):
    first = build_trainer(tmp_path, RunDirectory(), Checkpoint(), max_steps=8, **SAVING)
    first.fit(TinyModule(), datamodule=TinyData())
    progress = read(tmp_path / "progress.json")
    (tmp_path / "progress.json").write_text(json.dumps({**progress, "seconds": 1000.0}))
    module = TinyModule()
    module.hook = lambda step: (tmp_path / "done.json").exists() and pytest.fail("the run is not done")
    second = build_trainer(tmp_path, RunDirectory(resuming=True), Checkpoint(), **SAVING)
    second.fit(module, datamodule=TinyData(), ckpt_path="last")
    done = read(tmp_path / "done.json")
    assert done["step"] == 24
    assert 1000 < done["seconds"] < 1100
    assert len(read(tmp_path / "environment.json")["earlier"]) == 1


def test_a_run_that_fails_says_so(tmp_path):
    def fail(step):
        raise OSError("the disk is full")

    module = TinyModule()
    module.hook = fail
    with pytest.raises(OSError, match="disk"):
        build_trainer(tmp_path, RunDirectory()).fit(module, datamodule=TinyData())
    assert read(tmp_path / "progress.json")["status"] == "failed"
    assert not (tmp_path / "done.json").exists()
