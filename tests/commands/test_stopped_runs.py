"""Runs that are stopped, come to nothing, are started once more than needed, or are only tried out."""

import contextlib
import importlib
import json
import os
import shutil
import signal
import sys
from pathlib import Path

import pytest
import torch

from lightning_marlhf.__main__ import main
from lightning_marlhf.commands import run as cli
from lightning_marlhf.commands.run_checks import tasks_without_srun
from tests.forks import fork

SIGNALS = [(signal.SIGINT, 130), (signal.SIGTERM, 75), (signal.SIGUSR1, 75), (signal.SIGHUP, 75)]


@pytest.fixture
def toy(toy_yaml):
    """The class of the module that is trained; its hooks can be replaced."""
    return importlib.import_module("toy_run").Toy


@pytest.fixture
def run(toy_yaml, capfd):
    """Start the run of the toy; returns its exit status and what it said on stderr."""

    def start(*arguments, command="fit"):
        try:
            status = cli.main([command, "--config", str(toy_yaml), *map(str, arguments)])
        except SystemExit as end:
            status = end.code
        error = capfd.readouterr().err
        assert "Traceback" not in error
        return status, error

    return start


@pytest.fixture
def folder(tmp_path) -> Path:
    return tmp_path / "run"


def updates_saved(folder) -> int:
    checkpoint = torch.load(folder / "checkpoints/last.ckpt", weights_only=False)
    return checkpoint["global_step"]


def kills_itself(number, method):
    """Make a method send a signal to its process before it goes on."""

    def method_of_killed(self, *arguments, **options):
        os.kill(os.getpid(), number)
        return method(self, *arguments, **options)

    return method_of_killed


# --- signals, wherever a run is


@pytest.mark.parametrize(("number", "status"), SIGNALS)
def test_while_training_the_batch_is_finished_and_saved(run, toy, folder, monkeypatch, number, status):
    before = signal.getsignal(number)
    monkeypatch.setattr(toy, "training_step", kills_itself(number, toy.training_step))
    ended, said = run()
    assert ended == status
    assert updates_saved(folder) == 1
    assert "interrupted at update 1: saved" in said
    assert signal.getsignal(number) is before


@pytest.mark.parametrize(("number", "status"), SIGNALS)
def test_while_loading_the_run_ends_at_once_in_one_line(run, toy, folder, monkeypatch, number, status):
    monkeypatch.setattr(toy, "configure_model", kills_itself(number, lambda self: None))
    ended, said = run()
    assert (ended, said) == (status, "interrupted\n")
    assert not (folder / "done.json").exists()


def test_a_signal_that_third_party_code_swallows_is_remembered(run, toy, folder, monkeypatch):
    def swallow(self):
        with contextlib.suppress(BaseException):  # as Python does in every __del__
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(toy, "configure_model", swallow)
    assert run()[0] == 130
    assert not (folder / "checkpoints").exists()


def test_in_a_validation_of_a_fit_it_ends_after_it_with_a_checkpoint(run, toy, folder, monkeypatch):
    step = kills_itself(signal.SIGTERM, toy.validation_step)
    monkeypatch.setattr(toy, "validation_step", step)
    assert run("--trainer.limit_val_batches=1", "--trainer.val_check_interval=3")[0] == 75
    assert updates_saved(folder) == 3


def test_in_a_test_it_ends_at_once(run, toy, monkeypatch):
    assert run()[0] == 0
    monkeypatch.setattr(toy, "test_step", kills_itself(signal.SIGTERM, toy.test_step))
    assert run(command="test") == (75, "interrupted\n")


def test_in_the_export_it_ends_at_once_and_the_rest_is_made_up_for(run, toy, folder, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(toy, "export", kills_itself(signal.SIGTERM, toy.export))
        ended, said = run()
        assert ended == 75
        assert "last.ckpt exists" in said
        assert updates_saved(folder) == 4
        assert not (folder / "export").exists()
        assert not (folder / "done.json").exists()
    assert run("--ckpt_path=last")[0] == 0
    assert (folder / "export").is_dir()
    assert (folder / "done.json").exists()


# --- an export that fails


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), ValueError("no\nwords")])
def test_an_export_that_fails_loses_no_update_and_can_be_repeated(run, toy, folder, monkeypatch, error):
    def fail(self, *_, **__):
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(toy, "export", fail)
        for resumed in ([], ["--ckpt_path=last"]):  # trained now, and with nothing left to train
            ended, said = run("--trainer.max_steps=3", *resumed)
            assert ended == 1
            assert "the export failed" in said
            assert f"export {folder}" in said
            assert updates_saved(folder) == 3
            assert not (folder / "done.json").exists()
    assert run("--trainer.max_steps=3", "--ckpt_path=last")[0] == 0
    assert json.loads((folder / "done.json").read_text())["export"] == "export"


# --- started once more than needed


def test_a_run_without_a_checkpoint_yet_starts_anew_and_says_so(run, folder):
    ended, said = run("--ckpt_path=last")
    assert ended == 0
    assert "no checkpoint yet" in said
    assert json.loads((folder / "done.json").read_text())["step"] == 4


def test_a_finished_run_is_left_as_it_is(run, toy, folder, monkeypatch):
    assert run()[0] == 0
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    monkeypatch.setattr(toy, "configure_model", kills_itself(signal.SIGKILL, None))
    ended, said = run("--ckpt_path=last")
    assert ended == 0
    assert "is finished" in said
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_a_finished_run_goes_on_where_more_is_asked_of_it(run, folder):
    assert run()[0] == 0
    assert run("--ckpt_path=last", "--trainer.max_steps=6")[0] == 0
    assert updates_saved(folder) == 6


# --- runs that come to nothing


@pytest.mark.parametrize(
    "nothing",
    ["--trainer.max_steps=0", "--data.rows=0", "--trainer.limit_train_batches=0", "--trainer.max_time=00:00:00:00"],
)
@pytest.mark.filterwarnings("ignore:.*across ranks is zero")
def test_a_run_without_an_update_is_a_mistake_and_leaves_no_result(run, folder, nothing):
    ended, said = run(nothing)
    assert ended == 1
    assert "made no update" in said
    assert not (folder / "done.json").exists()
    assert not (folder / "export").exists()


def test_a_share_of_an_epoch_above_1_is_refused(run):
    ended, said = run("--trainer.val_check_interval=1.5")
    assert ended == 2
    assert "trainer.val_check_interval" in said


@pytest.mark.parametrize("name", ["val_check_interval", "check_val_every_n_epoch"])
@pytest.mark.parametrize("value", ["0", "-1", "0.0"])
def test_an_interval_of_nothing_is_refused(run, folder, name, value):
    if name != "val_check_interval" and "." in value:
        return
    ended, said = run(f"--trainer.{name}={value}")
    assert ended == 2
    assert f"trainer.{name}: expected " in said
    assert not folder.exists()


@pytest.mark.parametrize(("every", "there"), [(2, True), (100, False)])
def test_what_a_failed_run_has_left_is_said(run, toy, monkeypatch, every, there):
    step = toy.training_step

    def full_disk(self, batch, batch_idx):
        if batch_idx == 3:
            raise OSError(28, "No space left on device", "somewhere")
        return step(self, batch, batch_idx)

    monkeypatch.setattr(toy, "training_step", full_disk)
    ended, said = run(f"--checkpoint.every_n_train_steps={every}")
    assert ended == 1
    assert "the disk is full (somewhere)" in said
    assert ("last.ckpt exists" in said) is there
    assert ("no checkpoint was saved" in said) is not there


def test_a_folder_that_is_removed_in_mid_run_is_told_and_not_made_again(run, toy, folder, monkeypatch):
    step = toy.training_step

    def remove(self, batch, batch_idx):
        step(self, batch, batch_idx)
        if batch_idx == 2:
            shutil.rmtree(folder)
        for logger in self.loggers:
            logger.log_metrics({"loss/toy": 0.0}, step=self.global_step)

    monkeypatch.setattr(toy, "training_step", remove)
    ended, said = run("--trainer.logger=true")
    assert ended == 1
    assert f"removed during the run: {folder / 'metrics.csv'}" in said
    assert said.count("\n") == 1
    assert not folder.exists()


# --- inside an allocation of SLURM

BATCH = {"SLURM_JOB_ID": "7", "SLURM_JOB_NAME": "work", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"}


@pytest.mark.parametrize("variables", [{"SLURM_NTASKS": "4"}, {"SLURM_NTASKS": "2", "SLURM_NTASKS_PER_NODE": "2"}])
def test_without_srun_one_process_runs_by_itself(run, folder, monkeypatch, variables):
    for name, value in {**BATCH, "SLURM_NODEID": "0", **variables}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("SLURM_STEP_ID", raising=False)
    ended, said = run()
    assert ended == 0
    assert "srun" in said
    assert (folder / "done.json").exists()


def test_tasks_of_srun_and_torchrun_are_left_to_lightning():
    job = {**BATCH, "SLURM_NTASKS": "4"}
    assert tasks_without_srun(job) == 4
    assert tasks_without_srun({**job, "SLURM_STEP_ID": "4294967290"}) == 4  # an salloc's shell
    assert tasks_without_srun({**job, "SLURM_STEP_ID": "0"}) is None
    assert tasks_without_srun({**job, "TORCHELASTIC_RUN_ID": "x"}) is None
    assert tasks_without_srun({}) is None


@pytest.mark.parametrize("tasks", ["", "four", "0"])
def test_a_number_of_tasks_that_is_none_is_no_matter_to_one_process(run, monkeypatch, tasks):
    monkeypatch.setenv("SLURM_NTASKS", tasks)
    assert run()[0] == 0


# --- a run that is to go on, and does not come to it


def test_an_extension_that_is_stopped_while_it_loads_is_no_finished_run(run, toy, folder, monkeypatch):
    assert run()[0] == 0
    before, longer = updates_saved(folder), ["--ckpt_path=last", "--trainer.max_steps=8"]
    with monkeypatch.context() as patch:
        patch.setattr(toy, "configure_model", kills_itself(signal.SIGTERM, lambda self: None))
        assert run(*longer)[0] == 75
    ended, said = run(*longer)
    assert (ended, "is finished" in said) == (0, False)
    assert updates_saved(folder) == 2 * before


@pytest.mark.parametrize("part", ["state_dict", "optimizer_states", "loops", "callbacks"])
def test_a_checkpoint_without_a_part_of_the_run_is_refused(run, folder, part):
    assert run()[0] == 0
    path = folder / "checkpoints/last.ckpt"
    checkpoint = torch.load(path, weights_only=False)
    del checkpoint[part]
    torch.save(checkpoint, path)
    ended, said = run("--ckpt_path=last", "--trainer.max_steps=8")
    assert ended == 1
    assert "last.ckpt" in said
    assert part in said


def test_a_folder_that_is_no_checkpoint_is_told(run, folder):
    assert run()[0] == 0
    ended, said = run(f"--ckpt_path={folder}", "--trainer.max_steps=8")
    assert ended == 1
    assert "no checkpoint" in said
    assert "last.ckpt" in said


# --- nobody reads what a run says


def fit_for_nobody(config, toys):
    """Run it with a pipe for its output whose reader has gone."""
    sys.path.insert(0, toys)
    reader, writer = os.pipe()
    for descriptor in (1, 2):
        os.dup2(writer, descriptor)
    os.close(reader)
    return main(["fit", "--config", str(config)])


def test_a_run_outlives_the_reader_of_its_output(toy_yaml, folder):
    process = fork(fit_for_nobody, toy_yaml, str(Path(__file__).parents[1]))
    process.join(60)
    assert process.exitcode == 0
    assert (folder / "done.json").exists()


# --- a run that is only tried out


def test_a_smoke_run_leaves_nothing_in_the_folder_of_the_run(run, folder):
    assert run("--trainer.fast_dev_run=true")[0] == 0
    assert not folder.exists()


def test_a_smoke_run_leaves_a_finished_run_as_it_is(run, folder):
    assert run()[0] == 0
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    smoke = ["--trainer.fast_dev_run=true", "--test_after_fit=true"]
    assert run(*smoke)[0] == 0
    assert run(*smoke, "--overwrite")[0] == 0
    assert run(*smoke, "--ckpt_path=last")[0] == 0
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
