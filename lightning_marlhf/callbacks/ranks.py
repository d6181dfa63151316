"""Prefixes stderr lines with the rank, and names lost ranks when a collective fails."""

import contextlib
import os
import socket
import sys
import time
from typing import Any, TextIO, TypeVar

import psutil
import torch
from lightning.pytorch import Callback, LightningModule, Trainer

Value = TypeVar("Value")
_STDERR = 2
_OF_COLLECTIVES = ("gloo", "NCCL", "ProcessGroup", "TCPStore")
_GRACE_PERIOD_S = 5.0  # a process that failed may still be ending


class NameRanks(Callback):
    """Puts its rank before each line that a process writes to stderr, if there are several processes."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Wrap stderr until the process exits, so that its last lines have a prefix, too."""
        prefix = prefix_of(trainer)
        if prefix and not isinstance(sys.stderr, _Prefixed):
            sys.stderr = _Prefixed(sys.stderr, prefix)


def prefix_of(trainer: Trainer) -> str:
    """Return this process's line prefix; "" for a single process."""
    return f"[rank {trainer.global_rank}] " if trainer.world_size > 1 else ""


def write_stderr(text: str, *, prefix: str = "") -> None:
    """Write to stderr in one system call: in a signal handler, or while all hangs, buffered streams may be locked."""
    with contextlib.suppress(OSError):  # the terminal is closed
        os.write(_STDERR, (prefix + text).encode())


def gather_objects(trainer: Trainer, value: Value) -> list[Value]:
    """Return the value of each rank, by rank. Collective: every rank must call it."""
    values = [value] * trainer.world_size
    if trainer.world_size > 1:
        torch.distributed.all_gather_object(values, value)
    return values


class _Prefixed:
    """A text stream whose lines begin with a prefix."""

    def __init__(self, stream: TextIO, prefix: str) -> None:
        self._stream = stream
        self._prefix = prefix
        self._at_start = True

    def write(self, text: str) -> int:
        """Write with the prefix at each line start."""
        for line in text.splitlines(keepends=True):
            self._stream.write(self._prefix + line if self._at_start else line)
            self._at_start = line.endswith("\n")
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class LostRankError(ValueError):
    """Another process of the run is gone."""


class RollCall(Callback):
    """Records host and pid of each rank, and finds dead ranks."""

    def __init__(self) -> None:
        self._rank = 0
        self._processes: list[tuple[str, int]] = []  # host and process id, by rank

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Note host and process of every rank."""
        self._rank = trainer.global_rank
        if trainer.world_size > 1:
            self._processes = gather_objects(trainer, (socket.gethostname(), os.getpid()))

    def explain(self, error: BaseException) -> LostRankError | None:
        """Return an error naming the lost ranks if ``error`` is a collective's; None otherwise.

        Processes of other hosts cannot be seen from here: if none of this host is gone, they are named all together.
        """
        text = str(error)
        if not self._processes or not any(word in text for word in _OF_COLLECTIVES):
            return None
        host = self._processes[self._rank][0]
        until = time.monotonic() + _GRACE_PERIOD_S
        while not (gone := self._dead_ranks(host)) and time.monotonic() < until:
            time.sleep(0.1)
        elsewhere = [rank for rank, (where, _) in enumerate(self._processes) if where != host]
        if not gone and not elsewhere:
            return None  # all are there
        who = ", ".join(
            f"rank {rank} ({self._processes[rank][0]}, process {self._processes[rank][1]})"
            for rank in gone or elsewhere
        )
        reach = "" if gone else f", or out of reach of {host}"
        return LostRankError(f"{who} is lost{reach}: see its last line; without one it was killed (out of memory?)")

    def _dead_ranks(self, host: str) -> list[int]:
        """Find the ranks of this host whose process has ended."""
        here = ((rank, process) for rank, (where, process) in enumerate(self._processes) if where == host)
        return [rank for rank, process in here if not _is_alive(process)]


def _is_alive(process: int) -> bool:
    try:
        return psutil.Process(process).status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    except psutil.NoSuchProcess:
        return False
