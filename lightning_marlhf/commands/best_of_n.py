"""`best-of-n MODEL`: expected score of best-of-N sampling, for many N and temperatures."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lightning_marlhf.commands import errors
from lightning_marlhf.commands.export import export_checkpoint
from lightning_marlhf.config.options import ConfigError, positional, read_options
from lightning_marlhf.display.text import printable
from lightning_marlhf.evaluation.scored_folder import ScoredFolder, ScoringOptions
from lightning_marlhf.files import write_json
from lightning_marlhf.inference.options import PromptOptions, SamplingLimits
from lightning_marlhf.inference.prompts import read_prompts
from lightning_marlhf.ranges import Positive, PositiveInt
from lightning_marlhf.records import BestOfN, read_completions

NAME = "best_of_n"
_POOL_SIZE = 64  # responses per prompt without --n


@dataclass(frozen=True, kw_only=True)
class BestOfNOptions:
    """Estimate without bias the expected score of best-of-N sampling from one pool of responses per prompt.

    The score that chooses the best response is reported, and the others of the same response (over-optimisation).

    Args:
        model: Policy that responds to --prompts: run directory, export/ folder, .ckpt of a run, Hugging Face folder or
            Hub id.
        completions: Instead of a model: completions (JSONL), several per prompt.
        score: Name of the score by which the best response is chosen.
        n: Numbers of responses to choose from (default: 1 2 4 8 16 32 64; of --completions, as far as there are as
            many).
        temperatures: Sampling temperatures.
    """

    model: str | None = positional(default=None)
    prompts: PromptOptions = PromptOptions()
    completions: Path | None = None
    score: str = "rm"
    n: tuple[PositiveInt, ...] = ()
    temperatures: tuple[Positive, ...] = (0.2, 0.5, 0.8, 1.0, 1.2)
    sampling: SamplingLimits = SamplingLimits(max_new_tokens=512)
    scoring: ScoringOptions

    def __post_init__(self) -> None:
        prompts = self.prompts.prompts
        if (self.model is None) == (self.completions is None):
            raise ConfigError("expected either a MODEL, or --completions FILE")
        if self.model is not None and prompts is None:
            raise ConfigError("--prompts is missing: the prompts for MODEL")
        if self.completions is not None and prompts is not None:
            raise ConfigError("--prompts and --completions: completions have their prompts")
        if self.model is not None and not (self.scoring.reward_model or self.scoring.gold):
            raise ConfigError("--reward-model is missing: the scorer of the responses (or --gold)")


def main(arguments: Sequence[str]) -> int:
    """Estimate the expected score of best-of-N sampling; see `best-of-n --help`."""
    return errors.call(lambda: _run(read_options(BestOfNOptions, arguments[1:], command="best-of-n"), arguments))


def _run(options: BestOfNOptions, arguments: Sequence[str]) -> int:
    with errors.resumable(str(options.scoring.out), arguments):
        folder = ScoredFolder(options.scoring, exporter=export_checkpoint)
        if options.completions is not None:
            files = [folder.copy(options.completions, "given")]
        else:
            assert options.model is not None
            files = folder.generate(
                options.model,
                {f"temperature-{t:g}": options.sampling.at(t) for t in sorted(set(options.temperatures))},
                prompts=read_prompts([], options.prompts.prompts, options.prompts.format),
                num_samples=max(options.n, default=_POOL_SIZE),
                seed=options.sampling.seed,
                format=options.prompts.format,
            )
        folder.score(files)
    from lightning_marlhf.evaluation.best_of_n import estimate_from_completions

    rows = [row for file in files for row in read_completions(file)]
    found = estimate_from_completions(rows, chooser=options.score, ns=options.n, sources=folder.sources)
    _write(found, options.scoring.out)
    return 0


def _write(found: BestOfN, out: Path) -> None:
    """Write the result as JSON, Markdown and pictures, and print it."""
    from lightning_marlhf.display.columns import plain_lines
    from lightning_marlhf.reporting.best_of_n import best_of_n_pictures, best_of_n_table
    from lightning_marlhf.reporting.report import write_table_and_figure

    write_json(out / f"{NAME}.json", found.to_dict())
    table = best_of_n_table(found)
    title = f"Best of N responses of {found.model}" if found.model else "Best of N responses"
    write_table_and_figure(out, NAME, title=title, table=table, pictures=best_of_n_pictures(found))
    sys.stdout.write("".join(f"{line}\n" for line in plain_lines(table)))
    sys.stdout.write(printable(f"{out / NAME}.{{json,md,png,svg}}\n"))
