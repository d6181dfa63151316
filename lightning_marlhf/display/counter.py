"""Progress of a command on standard error: a bar on a terminal, else a line at intervals."""

import sys
import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress

from lightning_marlhf.display.text import duration

_LINE_EVERY_S = 30.0


class Counter:
    """Shows the progress towards ``total`` and the estimated time left.

    Args:
        unit: Name of the counted items: "responses".
        total: their number.
        shown: False counts silently.
    """

    def __init__(self, unit: str, total: int, *, shown: bool = True) -> None:
        self.unit = unit
        self.total = total
        self.shown = shown
        self.done = 0

    def __enter__(self) -> Self:
        self._started = self._last_printed = time.monotonic()
        console = Console(stderr=True)
        self._bar = Progress(
            *Progress.get_default_columns(),
            MofNCompleteColumn(),
            console=console,
            redirect_stdout=False,
            disable=not self.shown or not console.is_terminal,
        )
        self._task = self._bar.add_task(self.unit, total=self.total)
        self._bar.start()
        return self

    def add(self, count: int) -> None:
        """Count ``count`` more."""
        self.done += count
        self._bar.advance(self._task, count)
        now = time.monotonic()
        if self.shown and self._bar.disable and now - self._last_printed >= _LINE_EVERY_S:
            self._last_printed = now
            left = (now - self._started) / self.done * (self.total - self.done)
            sys.stderr.write(f"{self.done} of {self.total} {self.unit}, {duration(left)} left\n")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()
