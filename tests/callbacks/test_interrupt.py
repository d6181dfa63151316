import fcntl
import os
import pty
import signal
import termios
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
import torch

from lightning_marlhf.callbacks.checkpoint import Checkpoint
from lightning_marlhf.callbacks.interrupt import GracefulInterrupt
from lightning_marlhf.callbacks.run_directory import RunDirectory
from tests.callbacks.tiny import TinyData, TinyModule, build_trainer
from tests.forks import fork

BATCH_S = 0.2


def train(folder: Path, batch_s: float) -> None:
    """Run 1000 batches; print a line when each begins, so that the test knows when to press Ctrl-C."""

    def hook(step: int) -> None:
        print("step", step, flush=True)
        end = time.monotonic() + batch_s
        while time.monotonic() < end:
            time.sleep(0.01)

    module = TinyModule()
    module.hook = hook
    callbacks = [RunDirectory(), GracefulInterrupt(), Checkpoint(every_n_train_steps=10_000)]
    trainer = build_trainer(folder, *callbacks, max_steps=4000, enable_checkpointing=True)
    trainer.fit(module, datamodule=TinyData())


def train_in_terminal(folder: Path, terminal: str) -> None:
    """Run them as the leader of a session, in its terminal."""
    os.setsid()
    its = os.open(terminal, os.O_RDWR)
    fcntl.ioctl(its, termios.TIOCSCTTY, 0)
    for descriptor in range(3):
        os.dup2(its, descriptor)
    os.close(its)
    train(folder, BATCH_S)


def start(folder: Path, batch_s: float) -> BaseProcess:
    log = folder / "log"
    process = fork(train, folder, batch_s, log=log)
    while not (log.exists() and "step" in log.read_text()):
        assert process.exitcode is None, log.read_text()
        time.sleep(0.01)
    return process


def end(process: BaseProcess, folder: Path) -> str:
    process.join(60)
    return (folder / "log").read_text()


def saved_updates(folder: Path) -> int:
    return torch.load(folder / "checkpoints/last.ckpt", weights_only=False)["global_step"]


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 75), (signal.SIGUSR1, 75), (signal.SIGHUP, 75)]
)
def test_the_first_signal_finishes_the_batch_saves_and_says_how_to_resume(tmp_path, number, status):
    process = start(tmp_path, BATCH_S)
    os.kill(process.pid, number)
    said = end(process, tmp_path)
    saved = saved_updates(tmp_path)
    assert process.exitcode == status, said
    assert saved % 4 == 0
    assert 0 < saved < 4000
    assert f"interrupted at update {saved}: saved" in said
    assert "--ckpt_path last" in said
    assert "Traceback" not in said
    assert '"status": "interrupted"' in (tmp_path / "progress.json").read_text()


def test_a_run_whose_terminal_is_closed_is_saved(tmp_path):
    ours, its = pty.openpty()
    process = fork(train_in_terminal, tmp_path, os.ttyname(its))
    said = b""
    while b"step" not in said:
        said += os.read(ours, 1000)
    os.close(its)
    os.close(ours)
    process.join(60)
    assert process.exitcode == 75
    assert 0 < saved_updates(tmp_path) < 4000


def test_the_second_signal_stops_at_once(tmp_path):
    process = start(tmp_path, 60)
    os.kill(process.pid, signal.SIGINT)
    time.sleep(0.5)
    assert process.exitcode is None  # the batch goes on
    os.kill(process.pid, signal.SIGINT)
    said = end(process, tmp_path)
    assert process.exitcode == 130, said
    assert not (tmp_path / "checkpoints").exists()
    assert "press again" in said
