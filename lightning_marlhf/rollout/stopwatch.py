"""Seconds spent in each part of a step."""

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager


class Stopwatch:
    """Adds up the wall time of named parts; queued CUDA kernels count for the part that synchronises."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self.part = ""  # that is running

    @contextmanager
    def __call__(self, part: str) -> Iterator[None]:
        """Count the time inside the ``with`` block for ``part``."""
        start = time.perf_counter()
        self.part = part
        try:
            yield
        finally:
            self.seconds[part] += time.perf_counter() - start
            self.part = ""
