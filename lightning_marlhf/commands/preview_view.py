"""The page that `preview` prints: counts, lengths as bars, and the first rows, learnt tokens coloured."""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, repeat
from typing import Any

from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from lightning_marlhf.callbacks.progress import console
from lightning_marlhf.commands import preview_rows
from lightning_marlhf.commands.preview_rows import Block
from lightning_marlhf.data.base import RLHFDataModule, Split
from lightning_marlhf.data.row_counts import count_rows
from lightning_marlhf.data.text import TextData
from lightning_marlhf.display.text import printable
from lightning_marlhf.hub.tokenizer import decode_answers

_BINS = 8
_BAR = 40
_LEARNT, _SEEN = "green", "dim"


def show(
    data: RLHFDataModule, model_settings: Mapping[str, Any], *, num: int, as_tokens: bool
) -> None:
    """Print one data set's page.

    Args:
        data: what a run reads.
        model_settings: of its LightningModule.
        num: how many rows to show.
        as_tokens: False shows what can be known without the tokenizer.
    """
    summary = _summary(data, as_tokens=as_tokens)
    console().print(Rule(f"{type(data).__name__}, stage {data.stage}", style="dim"))
    console().print(summary)
    if as_tokens:
        for line in histogram(preview_rows.lengths(data)):
            console().print(Text(line))
        _show_tokens(data, model_settings, num)
    else:
        for text in preview_rows.texts(data, num):
            _show_title(data, text.pop("row"))
            for name, content in text.items():
                _show_block(name, content, learnt=False)


def histogram(lengths: Sequence[int]) -> Iterator[str]:
    """Yield lines that show how long rows are, in tokens.

    >>> list(histogram([3, 4, 4, 12]))[1:]
    ['    3-4    3  ########################################', '  11-12    1  #############']
    """
    if not lengths:
        return
    middle, longest = statistics.median(lengths), max(lengths)
    yield f"tokens a row: {min(lengths):,} to {longest:,}, half of {len(lengths):,} rows up to {middle:,.0f}"
    width = -(-(longest - min(lengths) + 1) // _BINS)
    counts: dict[int, int] = {}
    for length in lengths:
        start = min(lengths) + (length - min(lengths)) // width * width
        counts[start] = counts.get(start, 0) + 1
    most = max(counts.values())
    for start in range(min(lengths), longest + 1, width):
        count = counts.get(start, 0)
        bar = "#" * max(round(_BAR * count / most), 1 if count else 0)
        yield f"{f'{start}-{min(start + width - 1, longest)}':>9} {count:>6,}  {bar}".rstrip()


def _summary(data: RLHFDataModule, *, as_tokens: bool) -> Table:
    table = Table.grid(padding=(0, 2))
    splits: tuple[Split, ...] = ("train", "validate", "test")
    if isinstance(data, TextData):
        table.add_row("source", Text(data.source))
    for split in splits if data.stage != "evaluation" else ("test",):
        for name, line in zip(
            chain([split], repeat("")), _split(data, split, as_tokens), strict=False
        ):
            table.add_row(name, Text(line))
    if isinstance(data, TextData) and data.stage != "evaluation":
        posts, shared = data.shared_posts()
        table.add_row("posts", f"{posts:,} of this phase, {shared:,} of them in other phases too")
    return table


def _split(data: RLHFDataModule, split: Split, as_tokens: bool) -> list[str]:
    """Say how many rows a split has, and why some are not used."""
    if not isinstance(data, TextData):
        rows: Any = data.examples(split)
        return [f"{len(rows):,} rows"]
    tally = data.tally(split) if as_tokens else count_rows(data.texts(split))
    return [f"{tally.rows:,} rows, {tally.kept:,} used", *tally.lines()]


def _show_tokens(data: RLHFDataModule, model_settings: Mapping[str, Any], num: int) -> None:
    rows: Any = data.examples(preview_rows.split_of(data))
    for index in range(min(num, len(rows))):
        _show_title(data, preview_rows.row_of(data, index))
        first, *others = preview_rows.blocks(data, index, model_settings)
        for block in (first, *others):
            title = f"{block.name}: {len(block.ids):,} tokens, {block.use}"
            before = [] if block is first else list(first.ids)
            _show_block(title, _decode(data, before, block), learnt=block.learnt)


def _decode(data: RLHFDataModule, before: Sequence[int], block: Block) -> str:
    """Write tokens as text, special ones by their names; padding is one text over and over."""
    ids = block.ids[:1] if block.name == "padding" else block.ids
    return decode_answers(data.tokenizer, [before], [list(ids)], skip_special_tokens=False)[0]


def _show_title(data: RLHFDataModule, row: int) -> None:
    console().print(Rule(f"{preview_rows.split_of(data)}[{row}]", style="dim", align="left"))


def _show_block(title: str, content: str, *, learnt: bool) -> None:
    console().print(Text(title, style="bold"))
    for line in printable(content, keep="\n").split("\n"):
        console().print(Text(f"| {line}", style=_LEARNT if learnt else _SEEN))
