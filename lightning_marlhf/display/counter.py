"""Progress of a command on standard error: a bar on a terminal, else a line now and then."""

import sys
import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress

from lightning_marlhf.display.text import duration

_LINE_EVERY_S = 30.0


class Counter:
    """Counts what is done of ``total``, and says how long the rest will take.

    Args:
        what: name of what is counted: "responses".
        total: their number.
        shown: False counts silently.
    """

    def __init__(self, what: str, total: int, *, shown: bool = True) -> None:
        self.what = what
        self.total = total
        self.shown = shown
        self.done = 0

    def __enter__(self) -> Self:
        self._started = self._said = time.monotonic()
        console = Console(stderr=True)
        self._bar = Progress(
            *Progress.get_default_columns(),
            MofNCompleteColumn(),
            console=console,
            redirect_stdout=False,
            disable=not self.shown or not console.is_terminal,
        )
        self._task = self._bar.add_task(self.what, total=self.total)
        self._bar.start()
        return self

    def add(self, count: int) -> None:
        """Count ``count`` more."""
        self.done += count
        self._bar.advance(self._task, count)
        now = time.monotonic()
        if self.shown and self._bar.disable and now - self._said >= _LINE_EVERY_S:
            self._said = now
            left = (now - self._started) / self.done * (self.total - self.done)
            sys.stderr.write(f"{self.done} of {self.total} {self.what}, {duration(left)} left\n")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()
