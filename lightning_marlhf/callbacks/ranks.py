"""The processes of a run: which of them writes a line, and which of them is gone when a collective fails."""

import contextlib
import os
import socket
import sys
import time
from typing import Any, TextIO

import psutil
import torch
from lightning.pytorch import Callback, LightningModule, Trainer

_STDERR = 2
_OF_COLLECTIVES = ("gloo", "NCCL", "ProcessGroup", "TCPStore")
_PATIENCE_S = 5.0  # a process that failed may still be ending


class NameRanks(Callback):
    """Puts its rank before each line that a process writes to stderr, where there are several processes."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Begin, and never end, so that the last words of a process have a name too."""
        prefix = prefix_of(trainer)
        if prefix and not isinstance(sys.stderr, _Prefixed):
            sys.stderr = _Prefixed(sys.stderr, prefix)


def prefix_of(trainer: Trainer) -> str:
    """Return what stands before each line of this process: nothing where it is alone."""
    return f"[rank {trainer.global_rank}] " if trainer.world_size > 1 else ""


def say(text: str, *, prefix: str = "") -> None:
    """Write to stderr in one system call: in a signal handler, or while all hangs, buffered streams may be locked."""
    with contextlib.suppress(OSError):  # nobody is there to read it any more
        os.write(_STDERR, (prefix + text).encode())


class _Prefixed:
    """A text stream whose lines begin with a prefix."""

    def __init__(self, stream: TextIO, prefix: str) -> None:
        self._stream = stream
        self._prefix = prefix
        self._at_start = True

    def write(self, text: str) -> int:
        """Write, and say who it is at the start of each line."""
        for line in text.splitlines(keepends=True):
            self._stream.write(self._prefix + line if self._at_start else line)
            self._at_start = line.endswith("\n")
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class LostRankError(ValueError):
    """Another process of the run is gone."""


class RollCall(Callback):
    """Notes host and process id of each rank, and finds the ranks that are gone."""

    def __init__(self) -> None:
        self._rank = 0
        self._processes: list[tuple[str, int]] = []  # host and process id, by rank

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Note host and process of every rank."""
        self._rank = trainer.global_rank
        if trainer.world_size > 1:
            self._processes = [("", 0)] * trainer.world_size
            here = (socket.gethostname(), os.getpid())
            torch.distributed.all_gather_object(self._processes, here)

    def explain(self, error: BaseException) -> LostRankError | None:
        """Say who is gone, if ``error`` is that of a collective which somebody has left.

        Processes of other hosts cannot be seen from here: where none of this host is gone, they are named all together.
        """
        text = str(error)
        if not self._processes or not any(word in text for word in _OF_COLLECTIVES):
            return None
        host = self._processes[self._rank][0]
        until = time.monotonic() + _PATIENCE_S
        while not (gone := self._gone(host)) and time.monotonic() < until:
            time.sleep(0.1)
        elsewhere = [rank for rank, (where, _) in enumerate(self._processes) if where != host]
        if not gone and not elsewhere:
            return None  # all are there
        who = ", ".join(
            f"rank {rank} ({self._processes[rank][0]}, process {self._processes[rank][1]})"
            for rank in gone or elsewhere
        )
        reach = "" if gone else f", or out of reach of {host}"
        return LostRankError(
            f"{who} is gone{reach}: its own last line says why, or it was killed, as for want of memory"
        )

    def _gone(self, host: str) -> list[int]:
        """Find the ranks of this host whose process has ended."""
        return [rank for rank, (where, process) in enumerate(self._processes) if where == host and not _lives(process)]


def _lives(process: int) -> bool:
    try:
        return psutil.Process(process).status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    except psutil.NoSuchProcess:
        return False
