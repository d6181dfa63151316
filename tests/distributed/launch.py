"""Starts several processes by torchrun, each of which runs the same checks, with a time limit."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

ONE_THREAD = {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore", "HF_HUB_OFFLINE": "1"}


def launch(processes: int, folder: Path, *checks: str, timeout: float = 600) -> dict[str, object]:
    """Run checks of ``checks.py`` by name, one after another, in so many processes.

    Returns:
        What the checks returned in the first process, by name.
    """
    ended, said = torchrun(processes, folder, *checks, timeout=timeout)
    assert ended == 0, said[-8000:]
    return {name: json.loads((folder / f"{name}-{processes}.json").read_text()) for name in checks}


def torchrun(processes: int, folder: Path, *checks: str, timeout: float = 600) -> tuple[int, str]:
    """Run checks, and return the exit status and everything that was said; a hang is an error."""
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
        *(f"--nproc-per-node={processes}", "-m", "tests.distributed.checks", str(folder), *checks),
    ]
    process = subprocess.Popen(
        command,
        env=os.environ | ONE_THREAD,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        said, _ = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        said, _ = process.communicate()
        raise AssertionError(f"hung for {timeout} s: {said[-8000:]}") from None
    return process.returncode, said
