"""`score MODEL`: what a reward model thinks of completions."""

import argparse
import statistics
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from lightning_marlhf.commands import errors
from lightning_marlhf.display.counter import Counter
from lightning_marlhf.display.text import printable, printable_json
from lightning_marlhf.files import write_text
from lightning_marlhf.inference.completions_file import Row, read_rows, to_completion
from lightning_marlhf.inference.model_folder import (
    REWARD_MODEL_HELP,
    add_dtype_option,
    device_and_dtype,
)
from lightning_marlhf.inference.prompts import batches

_BINS, _BAR_WIDTH = 10, 40


def main(arguments: Sequence[str]) -> int:
    """Score completions; see `score --help`."""
    options = _parser().parse_args(arguments[1:])
    return errors.call(lambda: _run(options))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m lightning_marlhf score",
        description="Score completions by a reward model: a file of them, or one prompt with its response.",
    )
    parser.add_argument("model", help=REWARD_MODEL_HELP)
    parser.add_argument(
        "text", nargs="*", metavar="PROMPT RESPONSE", help="one prompt, one response"
    )
    parser.add_argument(
        "--completions",
        type=Path,
        metavar="FILE",
        help="JSONL with `prompt` (a text or messages) and `response`, as generate and runs write it; `ended`: false "
        "where a response was cut off, so that no EOS follows it",
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="the same rows with `scores`; without it they are printed",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace --out if it exists")
    parser.add_argument("--name", default="rm", help="key in `scores` (default rm)")
    parser.add_argument(
        "--chat-template",
        action="store_true",
        help="show the reward model dialogues in its own chat template",
    )
    parser.add_argument("--batch-size", type=int, default=16, metavar="N")
    add_dtype_option(parser)
    return parser


def _run(options: argparse.Namespace) -> int:
    _check(options)
    rows = _read_rows(options)
    answers = [to_completion(row, n, options.completions) for n, row in enumerate(rows)]
    device, dtype = device_and_dtype(options.dtype)
    from lightning_marlhf.evaluation.scoring import answered, reward_model, score_rows

    scores: list[float] = []
    with (
        reward_model(
            options.model,
            name=options.name,
            device=device,
            dtype=dtype,
            chat_template=options.chat_template,
        ) as scorer,
        Counter("scores", len(rows), shown=len(rows) > options.batch_size) as counter,
    ):
        for batch in batches(answers, options.batch_size):
            numbers = range(len(scores) + 1, len(scores) + 1 + len(batch))
            scores += score_rows(scorer, list(map(answered, batch)), numbers=numbers)
            counter.add(len(batch))
    _report(rows, scores, options)
    return 0


def _check(options: argparse.Namespace) -> None:
    if len(options.text) not in (0, 2) or bool(options.text) == bool(options.completions):
        raise ValueError("expected either PROMPT and RESPONSE, or --completions FILE")
    if options.out is not None and options.out.exists() and not options.overwrite:
        raise ValueError(f"{options.out} exists; --overwrite replaces it")
    if options.batch_size < 1:
        raise ValueError(f"--batch-size: expected at least 1, got {options.batch_size}")


def _read_rows(options: argparse.Namespace) -> list[Row]:
    if options.text:
        prompt, response = options.text
        return [{"prompt": prompt, "response": response}]
    return read_rows(options.completions)


def _report(rows: Sequence[Row], scores: Sequence[float], options: argparse.Namespace) -> None:
    if options.text:
        sys.stdout.write(f"{scores[0]:.5g}\n")
        return
    lines = "".join(
        printable_json(_scored(row, options.name, score)) + "\n"
        for row, score in zip(rows, scores, strict=True)
    )
    summary = "".join(f"{line}\n" for line in summarize(scores, options.name))
    if options.out is None:
        sys.stdout.write(lines)
        sys.stderr.write(printable(summary))
    else:
        write_text(options.out, lines)
        sys.stdout.write(printable(f"{options.out}\n{summary}"))


def _scored(row: Row, name: str, score: float) -> Row:
    return {**row, "scores": {**(row.get("scores") or {}), name: score}}


def summarize(scores: Sequence[float], name: str) -> Iterator[str]:
    """Say how scores are spread: mean, standard deviation (n - 1), extremes, and a histogram."""
    spread = statistics.stdev(scores) if len(scores) > 1 else 0.0
    low, high = min(scores), max(scores)
    yield (
        f"{name}: mean {statistics.fmean(scores):.4g}, standard deviation {spread:.4g}, "
        f"median {statistics.median(scores):.4g}, from {low:.4g} to {high:.4g}, n {len(scores)}"
    )
    if low == high:
        return
    width = (high - low) / _BINS
    counts = [0] * _BINS
    for score in scores:
        counts[min(int((score - low) / width), _BINS - 1)] += 1
    for number, count in enumerate(counts):
        bar = "#" * round(_BAR_WIDTH * count / max(counts))
        yield f"{low + number * width:10.3f} {count:6} {bar}".rstrip()
