"""`score MODEL`: scores of completions by a reward model."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lightning_marlhf.commands import errors
from lightning_marlhf.commands.export import export_checkpoint
from lightning_marlhf.config.options import ConfigError, positional, read_options
from lightning_marlhf.display.counter import Counter
from lightning_marlhf.display.text import printable, printable_json
from lightning_marlhf.files import write_text
from lightning_marlhf.inference.completions import Row, batches, read_rows, to_completion
from lightning_marlhf.inference.options import LoadOptions, device_and_dtype
from lightning_marlhf.ranges import PositiveInt


@dataclass(frozen=True, kw_only=True)
class ScoreOptions(LoadOptions):
    """Score completions by a reward model: a file of them, or one prompt with its response.

    Args:
        model: Sequence classifier (run directory, export/ folder, .ckpt of a run, Hugging Face folder or Hub id);
            MODEL#LABEL names the label whose logit is the score, if there are several.
        texts: One prompt and one response.
        completions: JSONL with `prompt` (a text or messages) and `response`, as generate and runs write it; `ended`:
            false if a response was cut off, so that no EOS follows it.
        out: File for the same rows with `scores`; without it, they are printed.
        overwrite: Replace --out if it exists.
        name: Key in `scores`.
        chat_template: Show the reward model dialogues in its own chat template.
        batch_size: Responses per forward pass.
    """

    model: str = positional()
    texts: list[str] = positional(many=True)
    completions: Path | None = None
    out: Path | None = None
    overwrite: bool = False
    name: str = "rm"
    chat_template: bool = False
    batch_size: PositiveInt = 16

    def __post_init__(self) -> None:
        if len(self.texts) not in (0, 2) or bool(self.texts) == (self.completions is not None):
            raise ConfigError("expected either PROMPT and RESPONSE, or --completions FILE")
        if self.out is not None and self.out.exists() and not self.overwrite:
            raise ConfigError(f"{self.out} exists; --overwrite replaces it")


def main(arguments: Sequence[str]) -> int:
    """Score completions; see `score --help`."""
    return errors.call(lambda: _run(read_options(ScoreOptions, arguments[1:], command="score")))


def _run(options: ScoreOptions) -> int:
    if options.completions is None:
        prompt, response = options.texts
        rows: list[Row] = [{"prompt": prompt, "response": response}]
    else:
        rows = read_rows(options.completions)
    completions = [to_completion(row, n, options.completions) for n, row in enumerate(rows)]
    device, dtype = device_and_dtype(options.dtype)
    from lightning_marlhf.evaluation.reward_models import answered, reward_model, score_rows

    scores: list[float] = []
    with (
        reward_model(
            options.model,
            name=options.name,
            device=device,
            dtype=dtype,
            chat_template=options.chat_template,
            exporter=export_checkpoint,
        ) as scorer,
        Counter("scores", len(rows), shown=len(rows) > options.batch_size) as counter,
    ):
        for batch in batches(completions, options.batch_size):
            numbers = range(len(scores) + 1, len(scores) + 1 + len(batch))
            scores += score_rows(scorer, list(map(answered, batch)), numbers=numbers)
            counter.add(len(batch))
    if options.completions is None:
        sys.stdout.write(f"{scores[0]:.5g}\n")
    else:
        _report(rows, scores, options)
    return 0


def _report(rows: Sequence[Row], scores: Sequence[float], options: ScoreOptions) -> None:
    from lightning_marlhf.evaluation.reward_models import describe_scores

    lines = "".join(
        printable_json({**row, "scores": {**(row.get("scores") or {}), options.name: score}}) + "\n"
        for row, score in zip(rows, scores, strict=True)
    )
    summary = printable("".join(f"{line}\n" for line in describe_scores(scores, options.name)))
    if options.out is None:
        sys.stdout.write(lines)
        sys.stderr.write(summary)
    else:
        write_text(options.out, lines)
        sys.stdout.write(printable(f"{options.out}\n") + summary)
