"""Processes of their own that have everything imported: each saves the ten seconds that PyTorch and Lightning take."""

import os
import sys
import warnings
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

PRELOADED = [
    "lightning_marlhf.commands.run",
    "tests.modules.tiny_runs",
    "tests.callbacks.tiny",
    "torch.distributed.run",
]


def fork(function: Callable[..., Any], *arguments: Any, log: Path | None = None) -> BaseProcess:
    """Call a function of a module in a process that is forked off a server with all imports done.

    It has the environment and the working directory of this process; its exit status is the function's, where that is
    a number.

    Args:
        log: file of what it writes to stdout and stderr.
    """
    server = get_context("forkserver")
    server.set_forkserver_preload(PRELOADED)
    process = server.Process(target=_call, args=(dict(os.environ), os.getcwd(), log, function, arguments))
    process.start()
    return process


def _call(
    environment: dict[str, str], folder: str, log: Path | None, function: Callable[..., Any], arguments: Any
) -> None:
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    if log is not None:
        with log.open("w") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
    warnings.simplefilter("ignore")
    sys.exit(function(*arguments))
