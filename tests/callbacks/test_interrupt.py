import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

# A run of 1000 batches; prints a line when each begins, so that the test knows when to press Ctrl-C.
RUN = """
import importlib.util, sys, time
from pathlib import Path

spec = importlib.util.spec_from_file_location("tiny", sys.argv[1])
tiny = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tiny)

from lightning_marlhf.callbacks.checkpoint import Checkpoint
from lightning_marlhf.callbacks.interrupt import GracefulInterrupt
from lightning_marlhf.callbacks.run_directory import RunDirectory

folder, slow = Path(sys.argv[2]), float(sys.argv[3])
module = tiny.TinyModule()

def hook(step):
    print("step", step, flush=True)
    end = time.monotonic() + slow
    while time.monotonic() < end:
        time.sleep(0.01)

module.hook = hook
callbacks = [RunDirectory(), GracefulInterrupt(), Checkpoint(every_n_train_steps=10_000)]
trainer = tiny.build_trainer(folder, *callbacks, max_steps=4000, enable_checkpointing=True)
trainer.fit(module, datamodule=tiny.TinyData())
"""


def saved_updates(folder: Path) -> int:
    return torch.load(folder / "checkpoints/last.ckpt", weights_only=False)["global_step"]


def start(tmp_path: Path, slow: float) -> subprocess.Popen:
    tiny = str(Path(__file__).with_name("tiny.py"))
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", RUN, tiny, str(tmp_path), str(slow)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    for line in process.stdout:
        if line.startswith("step"):
            return process
    raise AssertionError(process.stderr.read())


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 75), (signal.SIGUSR1, 75), (signal.SIGHUP, 75)]
)
def test_the_first_signal_finishes_the_batch_saves_and_says_how_to_resume(tmp_path, number, status):
    process = start(tmp_path, slow=0.3)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    saved = saved_updates(tmp_path)
    assert process.returncode == status, errors
    assert saved % 4 == 0
    assert 0 < saved < 4000
    assert f"interrupted at update {saved}: saved" in errors
    assert "--ckpt_path last" in errors
    assert "Traceback" not in errors
    assert '"status": "interrupted"' in (tmp_path / "progress.json").read_text()


def test_a_run_whose_terminal_is_closed_is_saved(tmp_path):
    ours, its = pty.openpty()
    takes_terminal = "import fcntl, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0)\n"
    tiny = str(Path(__file__).with_name("tiny.py"))
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", takes_terminal + RUN, tiny, str(tmp_path), "0.3"],
        stdin=its,
        stdout=its,
        stderr=its,
        start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    os.close(its)
    said = b""
    while b"step" not in said:
        said += os.read(ours, 1000)
    os.close(ours)
    assert process.wait(timeout=60) == 75
    assert 0 < saved_updates(tmp_path) < 4000


def test_the_second_signal_stops_at_once(tmp_path):
    process = start(tmp_path, slow=60)
    process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    assert process.poll() is None  # the batch goes on
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert not (tmp_path / "checkpoints").exists()
    assert "press again" in errors
