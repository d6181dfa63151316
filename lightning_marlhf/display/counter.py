"""Says on standard error how far a command is: a bar on a terminal, else a line now and then."""

import sys
import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

_LINE_EVERY_S = 30.0


class Counter:
    """Counts what is done of ``total``, and says how long the rest will take.

    Args:
        what: What is counted: "responses".
        total: how many there will be.
        shown: False counts silently.
    """

    def __init__(self, what: str, total: int, *, shown: bool = True) -> None:
        self.what = what
        self.total = total
        self.shown = shown
        self.done = 0
        self._bar: Progress | None = None

    def __enter__(self) -> Self:
        self._started = self._said = time.monotonic()
        console = Console(stderr=True)
        if self.shown and console.is_terminal:
            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TextColumn("left:"),
                TimeRemainingColumn(),
            )
            self._bar = Progress(*columns, console=console, redirect_stdout=False)
            self._bar.add_task(self.what, total=self.total)
            self._bar.start()
        return self

    def add(self, count: int) -> None:
        """Count ``count`` more."""
        self.done += count
        now = time.monotonic()
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=self.done)
        elif self.shown and now - self._said >= _LINE_EVERY_S:
            self._said = now
            left = (now - self._started) / self.done * (self.total - self.done)
            sys.stderr.write(f"{self.done} of {self.total} {self.what}, {left:.0f} s left\n")

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
