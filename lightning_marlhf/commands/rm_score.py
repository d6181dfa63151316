"""`rm-score MODEL_OR_FILE ...`: policies compared by the reward-model scores of their responses, as in the paper."""

import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lightning_marlhf.commands import errors
from lightning_marlhf.commands.export import export_checkpoint
from lightning_marlhf.config.options import ConfigError, positional, read_options
from lightning_marlhf.display.text import printable, short_labels
from lightning_marlhf.evaluation.scored_folder import ScoredFolder, ScoringOptions
from lightning_marlhf.files import write_json
from lightning_marlhf.inference.options import PromptOptions, SamplingOptions
from lightning_marlhf.inference.prompts import Prompt, read_prompts
from lightning_marlhf.ranges import PositiveInt
from lightning_marlhf.records import Completion, RMScores, read_completions

NAME = "rm_score"
_IN_ORDER = "webgpt"  # the paper takes its first held-out rows, unshuffled
_DRAWN_BY = ("temperature", "top_k", "top_p", "max_new_tokens", "seed")


@dataclass(frozen=True, kw_only=True)
class RMScoreOptions:
    """Compare policies by the reward-model scores of their responses to the same prompts.

    The defaults are the paper's: 2,000 held-out prompts by seed 1234, temperature 0.8, top-k 50.

    Args:
        sources: Policies that respond to --prompts (run directory, export/ folder, .ckpt of a run, Hugging Face folder
            or Hub id), or .jsonl files of completions; all are compared with the first.
        num_prompts: Number of prompts, drawn by --seed as the released code draws them (of webgpt: the first).
    """

    sources: list[str] = positional(many=True)
    prompts: PromptOptions = PromptOptions()
    num_prompts: PositiveInt = 2_000
    sampling: SamplingOptions = SamplingOptions(max_new_tokens=512, temperature=0.8, top_k=50, seed=1234)
    scoring: ScoringOptions

    def __post_init__(self) -> None:
        sources = self.sources
        if not sources:
            raise ConfigError("expected MODEL_OR_FILE: the policies to compare")
        twice = next((each for each in sources if sources.count(each) > 1), None)
        if twice is not None:
            raise ConfigError(f"{twice} is given twice")
        if not (self.scoring.reward_model or self.scoring.gold):
            raise ConfigError("--reward-model is missing: the scorer of the responses (or --gold)")
        model = next((each for each in sources if not _is_file(each)), None)
        if model is not None and self.prompts.prompts is None:
            raise ConfigError(f"--prompts is missing: the prompts for {model}")
        if model is None and self.prompts.prompts is not None:
            raise ConfigError("--prompts: files of completions have their prompts; no model is given")


def main(arguments: Sequence[str]) -> int:
    """Compare policies; see `rm-score --help`."""
    return errors.call(lambda: _run(read_options(RMScoreOptions, arguments[1:], command="rm-score"), arguments))


def _run(options: RMScoreOptions, arguments: Sequence[str]) -> int:
    labels = short_labels(options.sources)
    with errors.resumable(str(options.scoring.out), arguments):
        folder = ScoredFolder(options.scoring, exporter=export_checkpoint)
        files = _collect(options, labels, folder)
        folder.score(list(files.values()))
    from lightning_marlhf.evaluation.reward_models import compare_policies

    completions = {label: read_completions(file) for label, file in files.items()}
    settings = {name: getattr(options.sampling, name) for name in _DRAWN_BY}
    settings |= {"num_prompts": options.num_prompts, "format": options.prompts.format}
    found = RMScores(
        scorers=folder.sources,
        settings=settings if options.prompts.prompts is not None else {},
        policies=compare_policies(completions, labels, list(folder.sources)),
    )
    _write(found, completions, options.scoring.out)
    return 0


def _is_file(source: str) -> bool:
    return source.endswith((".jsonl", ".jsonl.gz"))


def _collect(options: RMScoreOptions, labels: Mapping[str, str], folder: ScoredFolder) -> dict[str, Path]:
    """Copy files of completions, and let models respond; return a file per label."""
    prompts = _draw_prompts(options) if options.prompts.prompts is not None else []
    files = {}
    for number, (source, label) in enumerate(labels.items()):
        stem = label.removesuffix(".gz").removesuffix(".jsonl")
        stem = re.sub(r"[^\w.-]+", "-", stem).strip("-.") or "policy"
        name = f"{number}-{stem}"
        if _is_file(source):
            files[label] = folder.copy(Path(source), name)
            continue
        (files[label],) = folder.generate(
            source,
            {name: options.sampling.settings},
            prompts=prompts,
            num_samples=1,
            seed=options.sampling.seed,
            format=options.prompts.format,
        )
    return files


def _draw_prompts(options: RMScoreOptions) -> list[Prompt]:
    """Draw the prompts as the paper's evaluation does."""
    file, form = options.prompts.prompts, options.prompts.format
    found = read_prompts([], file, form)
    if len(found) < options.num_prompts:
        sys.stderr.write(printable(f"{file} has {len(found)} prompts: all are used\n"))
    from lightning_marlhf.data.splits import evaluation_subset

    rows = evaluation_subset(len(found), options.num_prompts, shuffled=form != _IN_ORDER, seed=options.sampling.seed)
    return [found[row] for row in rows]


def _write(found: RMScores, completions: Mapping[str, Sequence[Completion]], out: Path) -> None:
    """Write the result as JSON, Markdown and pictures, and print it."""
    from lightning_marlhf.display.columns import plain_lines
    from lightning_marlhf.reporting.distributions import histogram_pictures, rm_score_table
    from lightning_marlhf.reporting.report import write_table_and_figure

    write_json(out / f"{NAME}.json", found.to_dict())
    table = rm_score_table(found)
    scores = {
        name: {label: [row.scores[name] for row in rows] for label, rows in completions.items()}
        for name in found.scorers
    }
    pictures = histogram_pictures(scores)
    write_table_and_figure(out, NAME, title="Reward-model scores", table=table, pictures=pictures)
    sys.stdout.write("".join(f"{line}\n" for line in plain_lines(table)))
    sys.stdout.write(printable(f"{out / NAME}.{{json,md,png,svg}}\n"))
