"""Who speaks, where several processes write to one terminal or one log."""

import contextlib
import os
import sys
from typing import Any, TextIO

from lightning.pytorch import Callback, LightningModule, Trainer

_STDERR = 2


class NameRanks(Callback):
    """Puts its rank before each line that a process writes to stderr, where there are several processes."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Begin; it goes on until the process ends, so that its last words have a name too."""
        prefix = prefix_of(trainer)
        if prefix and not isinstance(sys.stderr, _Prefixed):
            sys.stderr = _Prefixed(sys.stderr, prefix)


def prefix_of(trainer: Trainer) -> str:
    """Return what this process puts before its lines: nothing where it is alone."""
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
