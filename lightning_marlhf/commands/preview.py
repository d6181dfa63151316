"""`preview --config FILE`: shows what the model will see, before anything trains: texts, tokens, masks, counts."""

import argparse
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lightning_marlhf.commands import errors
from lightning_marlhf.config.yaml_files import ConfigError
from lightning_marlhf.display.text import printable_json

if TYPE_CHECKING:
    from lightning_marlhf.data.base import RLHFDataModule


def main(arguments: Sequence[str]) -> int:
    """Preview the data of a run; see `preview --help`."""
    options, config = _parser().parse_known_args(arguments[1:])
    return errors.call(lambda: _run(options, config))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m lightning_marlhf preview",
        usage="%(prog)s --config FILE [--num N] [--json] [settings as for fit]",
        description="Show the first rows of a run's stage, their tokens, and what was dropped. "
        "Works without the tokenizer too, as far as texts go.",
        epilog="Settings are those of fit, such as --data.init_args.source FOLDER; see fit --help.",
        allow_abbrev=False,
    )
    parser.add_argument("--num", type=int, default=3, metavar="N", help="rows to show (3)")
    parser.add_argument(
        "--json",
        action="store_true",
        help="print texts alone, one JSON object a line: row (in the source's train split), prompt, "
        "and chosen, rejected or response",
    )
    return parser


def _run(options: argparse.Namespace, config: Sequence[str]) -> int:
    if options.num < 1:
        raise ConfigError(f"--num: expected at least 1, got {options.num}")
    from lightning_marlhf.commands import preview_rows, preview_view

    data, model_settings = load(config)
    problem = preview_rows.tokenizer_problem(data)
    if options.json:
        for part in preview_rows.parts(data):
            for text in preview_rows.texts(part, options.num):
                sys.stdout.write(printable_json(text) + "\n")
            for line in preview_rows.left_out(part):
                sys.stderr.write(line + "\n")
    else:
        for part in preview_rows.parts(data):
            preview_view.show(part, model_settings, num=options.num, as_tokens=problem is None)
    if problem is not None:
        sys.stderr.write(f"without the tokenizer only texts can be shown: {problem}\n")
    return 0


def load(config: Sequence[str]) -> "tuple[RLHFDataModule, Mapping[str, Any]]":
    """Check a whole run's configuration, but build its data alone.

    Args:
        config: the command line, as `fit` takes it.

    Returns:
        The data, and the settings of the run's LightningModule.

    Raises:
        ConfigError: the configuration is wrong, or the data is none of this package.
    """
    from jsonargparse import Namespace

    from lightning_marlhf.commands import run as cli
    from lightning_marlhf.data.base import RLHFDataModule

    cli.quieten_lightning()
    run = cli.RunCLI("preview", config, build=False)
    try:
        data = run.parser.instantiate(Namespace(data=run.config.data)).data
    except ValueError as error:
        raise cli.constructor_error(error) from None
    if not isinstance(data, RLHFDataModule):
        raise ConfigError(f"data: expected a data set of this package, got {type(data).__name__}")
    return data, run.config.model.init_args.as_dict()
