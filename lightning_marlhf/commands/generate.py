"""`generate MODEL [PROMPT ...]`: answers prompts with a run, an export, a checkpoint or a Hub model."""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lightning_marlhf.commands import errors
from lightning_marlhf.display.counter import Counter
from lightning_marlhf.display.text import printable, printable_json
from lightning_marlhf.inference.model_folder import MODEL_HELP, device_and_dtype
from lightning_marlhf.inference.prompts import add_format_option, read_prompts
from lightning_marlhf.inference.sampling_options import add_sampling_options, sampling_settings
from lightning_marlhf.records import Completion, append_jsonl

if TYPE_CHECKING:
    from lightning_marlhf.inference.completing import Wanted


def main(arguments: Sequence[str]) -> int:
    """Answer prompts; see `generate --help`."""
    options = _parser().parse_args(arguments[1:])
    return errors.call(lambda: _run(options))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m lightning_marlhf generate",
        description="Answer prompts from the command line, a file, or standard input (one prompt a line).",
    )
    parser.add_argument("model", help=MODEL_HELP)
    parser.add_argument("prompts", nargs="*", help="prompts; none reads --file or standard input")
    parser.add_argument(
        "--file",
        type=Path,
        help=".jsonl: rows with `prompt`, or rows of --format's data set; else a prompt a line",
    )
    add_format_option(parser)
    add_sampling_options(parser, max_new_tokens=128)
    parser.add_argument(
        "--num-samples", type=int, default=1, metavar="N", help="answers to each prompt"
    )
    parser.add_argument(
        "--batch-size", type=int, default=16, metavar="N", help="answers made at a time"
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="add completions (JSONL) to this file as they come; the same command goes on where it was stopped",
    )
    parser.add_argument("--overwrite", action="store_true", help="begin --out anew")
    parser.add_argument("--json", action="store_true", help="print completions as JSON, one a line")
    return parser


def _run(options: argparse.Namespace) -> int:
    for name in ("num_samples", "batch_size"):
        if getattr(options, name) < 1:
            raise ValueError(
                f"--{name.replace('_', '-')}: expected at least 1, got {getattr(options, name)}"
            )
    prompts = read_prompts(options.prompts, options.file, options.format)
    device, dtype = device_and_dtype(options.dtype)
    from lightning_marlhf.inference.answer_job import AnswerJob

    job = AnswerJob(
        model=options.model,
        prompts=prompts,
        num_samples=options.num_samples,
        sampling=sampling_settings(options),
        seed=options.seed,
        form=options.format,
        batch_size=options.batch_size,
        device=device,
        dtype=dtype,
    )
    anew = options.out is None or options.overwrite
    wanted: Sequence[Wanted] = job.wanted() if anew else job.missing(options.out)
    if not wanted:
        sys.stdout.write(printable(f"{options.out}: all answers are there\n"))
        return 0
    with job.load() as model:
        wanted = job.fitting(model, wanted)
        made = job.make(model, wanted)
        return (_show if options.out is None else _keep)(made, len(wanted), options)


def _keep(made: Iterator[list[Completion]], total: int, options: argparse.Namespace) -> int:
    """Add completions to the file as they come."""
    if options.overwrite:
        options.out.unlink(missing_ok=True)
    done = 0
    try:
        with Counter("answers", total, shown=total > options.batch_size) as counter:
            for completions in made:
                append_jsonl(options.out, completions)
                done += len(completions)
                counter.add(len(completions))
    except KeyboardInterrupt:
        left = total - done
        sys.stderr.write(
            f"interrupted: {options.out} lacks {left} answers; the same command makes them\n"
        )
        return errors.INTERRUPTED
    sys.stdout.write(printable(f"{options.out}: {done} answers of {options.model}\n"))
    return 0


def _show(made: Iterator[list[Completion]], total: int, options: argparse.Namespace) -> int:
    """Print completions as they come."""
    shown = not sys.stdout.isatty() and total > options.batch_size
    previous = None
    with Counter("answers", total, shown=shown) as counter:
        for completions in made:
            for row in completions:
                as_text = _to_text(row, previous, total > 1)
                sys.stdout.write(_to_json(row) if options.json else printable(as_text))
                previous = row
            sys.stdout.flush()
            counter.add(len(completions))
    return 0


def _to_json(row: Completion) -> str:
    return printable_json(row.to_dict()) + "\n"


def _to_text(row: Completion, previous: Completion | None, several: bool) -> str:
    """Give the response, below its prompt where there are several and it is not the one before."""
    if not several or (previous and previous.prompt == row.prompt):
        return f"{row.response}\n"
    return ("\n" if previous else "") + f"> {row.prompt}\n{row.response}\n"
