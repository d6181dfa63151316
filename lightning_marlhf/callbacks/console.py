"""One console for banner, progress and guards, so that they do not write over each other."""

from functools import cache

from rich.console import Console


@cache
def console() -> Console:
    """Return the console of this process; it writes to standard output."""
    return Console(highlight=False, soft_wrap=True)
