"""Starts several processes as torchrun does, each of which runs the same checks, with a time limit."""

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from tests.forks import fork


def launch(processes: int, folder: Path, *checks: str, timeout: float = 600) -> dict[str, object]:
    """Run checks of ``checks.py`` by name, one after another, in so many processes.

    Returns:
        What the checks returned in the first process, by name.
    """
    ended, said = torchrun(processes, folder, *checks, timeout=timeout)
    assert ended == 0, said[-8000:]
    return {name: json.loads((folder / f"{name}-{processes}.json").read_text()) for name in checks}


def torchrun(processes: int, folder: Path, *checks: str, timeout: float = 600) -> tuple[int | None, str]:
    """Run checks, and return the exit status and everything that was said; a hang is an error."""
    log = folder / f"{checks[0]}-{processes}.log"
    agent = fork(_agent, processes, folder, checks, log=log)
    agent.join(timeout)
    if agent.exitcode is None:
        agent.terminate()  # the agent ends its workers
        agent.join(30)
        agent.kill()
        raise AssertionError(f"hung for {timeout} s: {log.read_text()[-8000:]}")
    return agent.exitcode, log.read_text()


def _agent(processes: int, folder: Path, checks: Sequence[str]) -> int:
    """Do what `torchrun --standalone` does, with workers that are forked off the same server."""
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        start_method="fork",
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        run_id=str(os.getpid()),
        max_restarts=0,
        monitor_interval=0.1,
    )
    try:
        elastic_launch(config, _work)(folder, checks)
    except ChildFailedError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _work(folder: Path, checks: Sequence[str]) -> None:
    os.environ["OMP_NUM_THREADS"] = "1"
    from tests.distributed.checks import main  # reads the rank, which the agent has set

    main(folder, checks)
