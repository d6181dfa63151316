"""`generate MODEL [PROMPT ...]`: responses of a run, an export, a checkpoint or a Hub model to prompts."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lightning_marlhf.commands import errors
from lightning_marlhf.commands.export import export_checkpoint
from lightning_marlhf.config.options import positional, read_options
from lightning_marlhf.display.counter import Counter
from lightning_marlhf.display.text import printable, printable_json
from lightning_marlhf.inference.completions import CompletionJob
from lightning_marlhf.inference.options import LoadOptions, PromptOptions, SamplingOptions, device_and_dtype
from lightning_marlhf.inference.prompts import read_prompts
from lightning_marlhf.ranges import PositiveInt
from lightning_marlhf.records import Completion


@dataclass(frozen=True, kw_only=True)
class GenerateOptions:
    """Generate responses to prompts from the command line, a file, or standard input (one prompt per line).

    Args:
        model: Run directory, export/ folder, .ckpt of a run, Hugging Face folder, or Hub id (owner/name).
        texts: Prompts; without them, those of --prompts or of standard input.
        num_samples: Responses per prompt.
        batch_size: Responses generated at a time.
        out: JSONL file to which completions are appended as they come; rerun the same command to resume.
        overwrite: Replace --out.
        json: Print completions as JSON, one per line.
    """

    model: str = positional()
    texts: list[str] = positional(many=True)
    source: PromptOptions = PromptOptions()
    num_samples: PositiveInt = 1
    sampling: SamplingOptions = SamplingOptions()
    loading: LoadOptions = LoadOptions()
    batch_size: PositiveInt = 16
    out: Path | None = None
    overwrite: bool = False
    json: bool = False


def main(arguments: Sequence[str]) -> int:
    """Generate responses; see `generate --help`."""
    return errors.call(lambda: _run(arguments))


def _run(arguments: Sequence[str]) -> int:
    options = read_options(GenerateOptions, arguments[1:], command="generate")
    prompts = read_prompts(options.texts, options.source.prompts, options.source.format)
    device, dtype = device_and_dtype(options.loading.dtype)
    job = CompletionJob(
        model=options.model,
        exporter=export_checkpoint,
        prompts=prompts,
        num_samples=options.num_samples,
        sampling=options.sampling.settings,
        seed=options.sampling.seed,
        format=options.source.format,
        batch_size=options.batch_size,
        device=device,
        dtype=dtype,
    )
    if options.out is None:
        with job.load() as model:
            requests = job.tokenize(model, job.requests())
            _print(job.run(model, requests), len(requests), options)
        return 0
    requests = job.requests() if options.overwrite else job.missing(options.out)
    if not requests:
        sys.stdout.write(printable(f"{options.out}: all responses exist\n"))
        return 0
    with job.load() as model:
        requests = job.tokenize(model, requests)
        if options.overwrite:
            options.out.unlink(missing_ok=True)
        with errors.resumable(str(options.out), arguments):
            job.append_to(options.out, model, requests)
    sys.stdout.write(printable(f"{options.out}: {len(requests)} responses of {options.model}\n"))
    return 0


def _print(batches: Iterator[list[Completion]], total: int, options: GenerateOptions) -> None:
    """Print completions as they come: as JSON, or each response below its prompt if there are several."""
    shown = not sys.stdout.isatty() and total > options.batch_size
    previous = None
    with Counter("responses", total, shown=shown) as counter:
        for completions in batches:
            for row in completions:
                if options.json:
                    sys.stdout.write(printable_json(row.to_dict()) + "\n")
                elif total == 1 or row.prompt == previous:
                    sys.stdout.write(printable(f"{row.response}\n"))
                else:
                    gap = "" if previous is None else "\n"
                    sys.stdout.write(printable(f"{gap}> {row.prompt}\n{row.response}\n"))
                previous = row.prompt
            sys.stdout.flush()
            counter.add(len(completions))
