"""`preview`: the training data of a run: texts, tokens, loss masks, counts."""

import statistics
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_marlhf.commands import errors
from lightning_marlhf.config.options import read_options, split_options
from lightning_marlhf.config.yaml_files import ConfigError
from lightning_marlhf.display.text import printable, printable_json
from lightning_marlhf.ranges import PositiveInt

if TYPE_CHECKING:
    from lightning_marlhf.data.base import RLHFDataModule

_BINS = 8
_BAR = 40


@dataclass(frozen=True, kw_only=True)
class PreviewOptions:
    """Show the first rows of a run's stage, their tokens, and what was dropped; without a tokenizer, the texts alone.

    Accepts all options of `fit`, such as `--data.init_args.source FOLDER`.

    Args:
        config: YAML files of the run, as for `fit`.
        num: Number of rows.
        json: Print texts alone, one JSON object a line: `row` (in the source's train split), `prompt`, and `chosen`,
            `rejected` or `response`.
    """

    config: list[Path] = field(default_factory=list)
    num: PositiveInt = 3
    json: bool = False


def main(arguments: Sequence[str]) -> int:
    """Preview the data of a run; see `preview --help`."""

    def run() -> int:
        ours, settings = split_options(PreviewOptions, arguments[1:])
        return _run(read_options(PreviewOptions, ours, command="preview"), settings)

    return errors.call(run)


def _run(options: PreviewOptions, settings: Sequence[str]) -> int:
    from lightning_marlhf.data import preview

    configs = [word for path in options.config for word in ("--config", str(path))]
    data, model_settings = build_data([*configs, *settings])
    problem = preview.tokenizer_problem(data)
    for part in preview.parts(data):
        if options.json:
            for text in preview.texts(part, options.num):
                sys.stdout.write(printable_json(text) + "\n")
            for line in preview.left_out(part):
                sys.stderr.write(line + "\n")
        else:
            _show(part, model_settings, num=options.num, as_tokens=problem is None)
    if problem is not None:
        sys.stderr.write(f"without the tokenizer only texts can be shown: {problem}\n")
    return 0


def build_data(arguments: Sequence[str]) -> "tuple[RLHFDataModule, Mapping[str, Any]]":
    """Check the configuration of a run, and build its data alone.

    Args:
        arguments: The command line after `fit`.

    Returns:
        The data, and the settings of the run's LightningModule.

    Raises:
        ConfigError: The configuration is wrong, or the data is not of this package.
    """
    from jsonargparse import Namespace

    from lightning_marlhf.commands import run as cli
    from lightning_marlhf.data.base import RLHFDataModule

    cli.mute_lightning()
    run = cli.RunCLI("preview", arguments, build=False)
    try:
        data = run.parser.instantiate(Namespace(data=run.config.data)).data
    except ValueError as error:
        raise cli.constructor_error(error) from None
    if not isinstance(data, RLHFDataModule):
        raise ConfigError(f"data: expected a data set of this package, got {type(data).__name__}")
    return data, run.config.model.init_args.as_dict()


def _show(data: "RLHFDataModule", model_settings: Mapping[str, Any], *, num: int, as_tokens: bool) -> None:
    """Print the page of one data set; without ``as_tokens``, what needs no tokenizer."""
    from rich.rule import Rule
    from rich.table import Table
    from rich.text import Text

    from lightning_marlhf.callbacks.progress import console
    from lightning_marlhf.data import preview

    table = Table.grid(padding=(0, 2))
    for name, line in preview.summary(data, as_tokens=as_tokens):
        table.add_row(name, Text(line))
    console().print(Rule(f"{type(data).__name__}, stage {data.stage}", style="dim"))
    console().print(table)
    for line in histogram(preview.lengths(data)) if as_tokens else ():
        console().print(Text(line))
    rows = preview.rows(data, model_settings, num, as_tokens=as_tokens)
    for row, blocks in rows:
        console().print(Rule(f"{preview.split_of(data)}[{row}]", style="dim", align="left"))
        for block in blocks:
            console().print(Text(block.title, style="bold"))
            for line in printable(block.text, keep="\n").split("\n"):
                console().print(Text(f"| {line}", style="green" if block.in_loss else "dim"))


def histogram(lengths: Sequence[int]) -> Iterator[str]:
    """Yield lines that show how long rows are, in tokens.

    >>> list(histogram([3, 4, 4, 12]))[1:]
    ['    3-4    3  ########################################', '  11-12    1  #############']
    """
    if not lengths:
        return
    middle, longest = statistics.median(lengths), max(lengths)
    yield f"tokens per row: {min(lengths):,} to {longest:,}, median of {len(lengths):,} rows {middle:,.0f}"
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
