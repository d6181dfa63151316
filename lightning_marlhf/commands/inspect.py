"""`inspect FILE_OR_RUN`: pages through rollouts, macro actions in alternating colours, each token with its numbers."""

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.rule import Rule
from rich.text import Text

from lightning_marlhf.commands import errors
from lightning_marlhf.display.text import printable
from lightning_marlhf.records import Completion, read_completions
from lightning_marlhf.run_folder import COMPLETIONS

COLOURS = ("black on bright_cyan", "black on bright_yellow")  # of macro actions in turn
ROWS = ("values", "rewards", "advantages", "kl")
_KEYS = "n next, p previous, number + Enter goes there, q quits"


def main(arguments: Sequence[str]) -> int:
    """Show rollouts; see `inspect --help`."""
    options = _parser().parse_args(arguments[1:])
    return errors.call(lambda: _run(options))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m lightning_marlhf inspect",
        description="Page through the rollouts that a run left in completions/.",
    )
    parser.add_argument(
        "path", type=Path, help="a .jsonl of completions, or a run directory (its newest file)"
    )
    parser.add_argument("--num", type=int, help="show only the first N rows")
    parser.add_argument("--row", type=int, help="show only this row, from 0")
    parser.add_argument(
        "--plain", action="store_true", help="no colours, no paging: bars between macro actions"
    )
    return parser


def _run(options: argparse.Namespace) -> int:
    path = find_completions(options.path)
    rows = choose(read_completions(path), row=options.row, num=options.num, path=path)
    console = Console(
        highlight=False, no_color=options.plain, color_system=None if options.plain else "auto"
    )
    console.print(Text(printable(f"{path}: {len(rows)} rows")), soft_wrap=True)
    if options.plain or not (console.is_terminal and sys.stdin.isatty()) or len(rows) == 1:
        for number, row in rows:
            show(
                row, number=number, console=console, plain=not console.is_terminal or options.plain
            )
        return 0
    _page(rows, console)
    return 0


def find_completions(path: Path) -> Path:
    """Return the file itself, or the newest one of a run.

    Raises:
        ValueError: there is none.
    """
    if path.is_file():
        return path
    folder = path / COMPLETIONS if (path / COMPLETIONS).is_dir() else path
    files = sorted(folder.glob("[!.]*.jsonl"), key=lambda file: (file.stat().st_mtime, file.name))
    if not files:
        raise ValueError(f"no rollouts: {path} is no .jsonl file and has no completions/*.jsonl")
    return files[-1]


def choose(
    rows: Sequence[Completion], *, row: int | None, num: int | None, path: Path
) -> list[tuple[int, Completion]]:
    """Number the rows and keep those asked for.

    Raises:
        ValueError: the file has no rows, or not that one, or a row whose trace is broken.
    """
    if not rows:
        raise ValueError(f"{path} has no rows")
    if row is not None and not 0 <= row < len(rows):
        raise ValueError(f"--row {row}: {path} has rows 0 to {len(rows) - 1}")
    if num is not None and num < 1:
        raise ValueError(f"--num: expected at least 1, got {num}")
    numbered = list(enumerate(rows))
    for number, each in numbered:
        if each.trace is not None and not _is_whole(each.trace):
            lists = ", ".join(("tokens", "macro_index", *ROWS))
            raise ValueError(
                f"{path}: row {number}: `trace` is broken: expected lists of one length: {lists}"
            )
    return numbered[row : row + 1] if row is not None else numbered[:num]


def _is_whole(trace: Mapping[str, Any]) -> bool:
    if not isinstance(trace, Mapping):
        return False
    names = ("tokens", "macro_index", *(name for name in ROWS if trace.get(name)))
    lists = [trace.get(name) for name in names]
    return all(isinstance(x, list) and len(x) == len(lists[0]) for x in lists)


def show(row: Completion, *, number: int, console: Console, plain: bool) -> None:
    """Print one row: its numbers, prompt and response, and its tokens with what was computed for them."""
    console.print(Rule(Text(f"row {number}  {printable(row.sample_id, keep='')}"), style="dim"))
    console.print(Text(_numbers(row), style="bold"), soft_wrap=True)
    console.print(Text(printable(row.prompt, keep="\n"), style="dim"), soft_wrap=True)
    if row.trace is None:
        console.print(Text(printable(row.response, keep="\n")), soft_wrap=True)
        return
    console.print(response_text(row, plain=plain), soft_wrap=True)
    for line in token_lines(row, width=console.width, plain=plain):
        console.print(line, soft_wrap=True)


def response_text(row: Completion, *, plain: bool) -> Text:
    """Return the response with one background per macro action, or with bars between them."""
    assert row.trace is not None
    text = Text()
    for i, token in enumerate(row.trace["tokens"]):
        boundary = i > 0 and row.trace["macro_index"][i] != row.trace["macro_index"][i - 1]
        if plain and boundary:
            text.append("|")
        text.append(printable(token, keep="\n"), style="" if plain else _colour(row, i))
    return text


def token_lines(row: Completion, *, width: int, plain: bool) -> Iterator[Text]:
    """Yield lines of tokens with the value, reward, advantage and KL of each below it.

    Args:
        row: a completion with a trace.
        width: columns of the terminal.
        plain: bars between macro actions instead of colours.
    """
    assert row.trace is not None
    shown = [printable(token, keep="") for token in row.trace["tokens"]]
    cells = {
        name: [f"{value:.2f}" for value in row.trace[name]] for name in ROWS if row.trace.get(name)
    }
    label = max(map(len, ROWS)) + 2
    start = 0
    while start < len(shown):
        stop, used, widths = start, label, []
        while stop < len(shown):
            needed = max(len(shown[stop]), *(len(values[stop]) for values in cells.values()), 1) + 1
            if widths and used + needed > width:
                break
            widths.append(needed)
            used += needed
            stop += 1
        yield _tokens_line(row, shown, start, widths, label=label, plain=plain)
        for name, values in cells.items():
            numbers = "".join(
                f"{value:>{w - 1}} " for value, w in zip(values[start:stop], widths, strict=True)
            )
            yield Text(f"{name:<{label}}{numbers}".rstrip(), style="dim")
        yield Text("")
        start = stop


def _tokens_line(
    row: Completion,
    shown: Sequence[str],
    start: int,
    widths: Sequence[int],
    *,
    label: int,
    plain: bool,
) -> Text:
    assert row.trace is not None
    line = Text(f"{'tokens':<{label}}")
    index = row.trace["macro_index"]
    for offset, width in enumerate(widths):
        i = start + offset
        ends = i + 1 < len(index) and index[i + 1] != index[i]
        if plain:
            line.append(f"{shown[i]:>{width - 1}}{'|' if ends else ' '}")
        else:
            line.append(f"{shown[i]:>{width - 1}} ", style=_colour(row, i))
    return line


def _colour(row: Completion, token: int) -> str:
    assert row.trace is not None
    return COLOURS[row.trace["macro_index"][token] % 2]


def _numbers(row: Completion) -> str:
    parts = [f"{name} {value:.3g}" for name, value in row.scores.items()]
    if row.kl is not None:
        parts.append(f"KL {row.kl:.3g}")
    parts.append(f"{row.num_tokens} tokens")
    if row.trace is not None and row.trace["macro_index"]:
        parts.append(f"{max(row.trace['macro_index']) + 1} macro actions")
    parts += [] if row.step is None else [f"update {row.step}"]
    parts += [] if row.ended else ["never ended"]
    return ", ".join(parts)


def _page(rows: Sequence[tuple[int, Completion]], console: Console) -> None:
    at, typed = 0, ""
    while True:
        if not typed:
            console.clear()
            show(rows[at][1], number=rows[at][0], console=console, plain=False)
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
