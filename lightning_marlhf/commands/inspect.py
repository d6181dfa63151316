"""`inspect FILE_OR_RUN`: pages through rollouts, macro actions in alternating colours, each token with its numbers."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from lightning_marlhf.commands import errors
from lightning_marlhf.config.options import positional, read_options
from lightning_marlhf.display.rollout_text import NUMBERS, show_rollout
from lightning_marlhf.display.text import printable
from lightning_marlhf.ranges import NonNegativeInt, PositiveInt
from lightning_marlhf.records import Completion, read_completions
from lightning_marlhf.run_folder import COMPLETIONS

_KEYS = "n next, p previous, number + Enter jumps there, q quits"
Rows = Sequence[tuple[int, Completion]]


@dataclass(frozen=True, kw_only=True)
class InspectOptions:
    """Page through the rollouts that a run left in completions/.

    Args:
        path: A .jsonl of completions, or a run directory (its newest file).
        num_rows: Show only the first rows.
        row: Show only this row, from 0.
        plain: No colours, no paging: bars between macro actions.
    """

    path: Path = positional()
    num_rows: PositiveInt | None = None
    row: NonNegativeInt | None = None
    plain: bool = False


def main(arguments: Sequence[str]) -> int:
    """Show rollouts; see `inspect --help`."""
    return errors.call(lambda: _run(read_options(InspectOptions, arguments[1:], command="inspect")))


def _run(options: InspectOptions) -> int:
    path = _find_completions(options.path)
    rows = _choose(read_completions(path), path, options)
    colours = None if options.plain else "auto"
    console = Console(highlight=False, no_color=options.plain, color_system=colours)
    console.print(Text(printable(f"{path}: {len(rows)} rows")), soft_wrap=True)
    if console.is_terminal and sys.stdin.isatty() and len(rows) > 1 and not options.plain:
        page(rows, console)
        return 0
    plain = options.plain or not console.is_terminal
    for number, row in rows:
        show_rollout(row, number=number, console=console, plain=plain)
    return 0


def _find_completions(path: Path) -> Path:
    """Return the file itself, or the newest one of a run."""
    if path.is_file():
        return path
    folder = path / COMPLETIONS if (path / COMPLETIONS).is_dir() else path
    files = sorted(folder.glob("[!.]*.jsonl"), key=lambda file: (file.stat().st_mtime, file.name))
    if not files:
        raise ValueError(f"no rollouts: {path} is no .jsonl file and has no completions/*.jsonl")
    return files[-1]


def _choose(rows: Sequence[Completion], path: Path, options: InspectOptions) -> Rows:
    """Number the rows, refuse broken ones, and keep those asked for."""
    if not rows:
        raise ValueError(f"{path} has no rows")
    if options.row is not None and options.row >= len(rows):
        raise ValueError(f"--row {options.row}: {path} has rows 0 to {len(rows) - 1}")
    for number, row in enumerate(rows):
        if row.trace is not None and not _is_complete(row.trace):
            lists = ", ".join(("tokens", "macro_index", *NUMBERS))
            raise ValueError(f"{path}: row {number}: `trace` is broken: expected lists of one length: {lists}")
    numbered = list(enumerate(rows))
    if options.row is not None:
        return numbered[options.row : options.row + 1]
    return numbered[: options.num_rows]


def _is_complete(trace: Any) -> bool:
    if not isinstance(trace, Mapping):
        return False
    names = ("tokens", "macro_index", *(name for name in NUMBERS if trace.get(name)))
    lists = [trace.get(name) for name in names]
    return all(isinstance(x, list) and len(x) == len(lists[0]) for x in lists)


def page(rows: Rows, console: Console) -> None:
    """Show one row at a time, as keys are pressed."""
    at, typed = 0, ""
    while True:
        if not typed:
            console.clear()
            number, row = rows[at]
            show_rollout(row, number=number, console=console, plain=False)
            console.print(Text(f"{at + 1} of {len(rows)}: {_KEYS}", style="reverse"))
        key = read_key()
        if key in ("q", "\x03", "\x04", ""):
            return
        if key.isdigit():
            typed += key
            continue
        if key in ("\r", "\n") and typed:
            at = min(int(typed), len(rows) - 1)
        elif key in ("n", " ", "\r", "\n", "\x1b[C", "\x1b[B"):
            at = min(at + 1, len(rows) - 1)
        elif key in ("p", "\x1b[D", "\x1b[A"):
            at = max(at - 1, 0)
        typed = ""


def read_key() -> str:
    """Wait for one key press; an arrow key is its escape sequence, the end of the input is empty."""
    import os
    import termios
    import tty

    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    try:
        tty.setraw(descriptor)
        return os.read(descriptor, 8).decode(errors="ignore")
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
