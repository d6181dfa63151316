"""A rollout on a terminal: its macro actions in alternating colours, and each token with its numbers below it."""

import re
from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.rule import Rule
from rich.text import Text

from lightning_marlhf.display.text import plural, printable
from lightning_marlhf.records import Completion

COLOURS = ("black on bright_cyan", "black on bright_yellow")  # of macro actions in turn
NUMBERS = ("values", "rewards", "advantages", "kl")  # of a trace, below each token
_NO_WORD = re.compile(r"[\W_]")  # in the name of a score it may be Markdown
_LABEL = max(map(len, NUMBERS)) + 2


def show_rollout(row: Completion, *, number: int, console: Console, plain: bool) -> None:
    """Print one row: its numbers, prompt and response, and its tokens with their log-probabilities, values and rewards.

    Args:
        row: A completion; without a trace, its texts alone are shown.
        number: Of the row in its file.
        console: Where to.
        plain: Bars between macro actions instead of colours.
    """
    console.print(Rule(Text(f"row {number}  {printable(row.sample_id, keep='')}"), style="dim"))
    update = [] if row.step is None else [f"update {row.step}"]
    console.print(Text(", ".join([*facts(row), *update]), style="bold"), soft_wrap=True)
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
    text, index = Text(), row.trace["macro_index"]
    for i, token in enumerate(row.trace["tokens"]):
        if plain and i > 0 and index[i] != index[i - 1]:
            text.append("|")
        text.append(printable(token, keep="\n"), style="" if plain else COLOURS[index[i] % 2])
    return text


def token_lines(row: Completion, *, width: int, plain: bool) -> Iterator[Text]:
    """Yield lines of tokens with the value, reward, advantage and KL of each below it.

    Args:
        row: A completion with a trace.
        width: Columns of the terminal.
        plain: Bars between macro actions instead of colours.
    """
    assert row.trace is not None
    index = row.trace["macro_index"]
    tokens = [printable(token, keep="") for token in row.trace["tokens"]]
    numbers = {name: [f"{value:.2f}" for value in row.trace[name]] for name in NUMBERS if row.trace.get(name)}
    widths = [max(1, *map(len, cells)) for cells in zip(tokens, *numbers.values(), strict=True)]
    for columns in _break_line(widths, _LABEL, width):
        line = Text(f"{'tokens':<{_LABEL}}")
        for i in columns:
            ends = i + 1 < len(index) and index[i + 1] != index[i]
            bar = "|" if plain and ends else " "
            line.append(f"{tokens[i]:>{widths[i]}}{bar}", style="" if plain else COLOURS[index[i] % 2])
        yield line
        for name, cells in numbers.items():
            shown = " ".join(f"{cells[i]:>{widths[i]}}" for i in columns)
            yield Text(f"{name:<{_LABEL}}{shown}", style="dim")
        yield Text("")


def _break_line(widths: Sequence[int], label: int, limit: int) -> Iterator[range]:
    """Begin a line where the next column, with its gap, would make it wider than ``limit``."""
    start, used = 0, label
    for column, width in enumerate(widths):
        if column > start and used + width + 1 > limit:
            yield range(start, column)
            start, used = column, label
        used += width + 1
    if widths:
        yield range(start, len(widths))


def facts(row: Completion) -> list[str]:
    """List the numbers of a response: scores, KL, length, truncation."""
    scores = [f"{_NO_WORD.sub(' ', name)} {value:.4g}" for name, value in row.scores.items()]
    kl = [] if row.kl is None else [f"KL {row.kl:.4g} nats"]
    macro = [plural(len(set(row.trace["macro_index"])), "macro action")] if row.trace else []
    end = [] if row.ended else ["cut off at the limit"]
    return [*scores, *kl, plural(row.num_tokens, "token"), *macro, *end]
