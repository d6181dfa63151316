"""`generate MODEL [PROMPT ...]`: answers prompts with a run, an export, a checkpoint or a Hub model."""

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_marlhf.commands import errors
from lightning_marlhf.commands.counter import Counter
from lightning_marlhf.commands.model_folder import MODEL_HELP, device_and_dtype, model_folder
from lightning_marlhf.commands.prompting import CHAT, FORMATS, TEXT, Prompt, batches, read_prompts
from lightning_marlhf.commands.sampling_options import add_sampling_options, sampling_settings
from lightning_marlhf.records import (
    Completion,
    append_jsonl,
    cut_unfinished_line,
    read_completions,
)

if TYPE_CHECKING:
    from lightning_marlhf.commands.answering import Answerer
    from lightning_marlhf.types import Rollout

INTERRUPTED = 130


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
    parser.add_argument(
        "--format",
        default=TEXT,
        choices=FORMATS,
        help="write prompts as this data set does, unless they are so already; chat: the model's own "
        "chat template; text (default): as given",
    )
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


@dataclass(frozen=True)
class _Wanted:
    """An answer that is to be made."""

    sample_id: str
    prompt: Prompt
    sample: int  # which of the answers to this prompt


def _run(options: argparse.Namespace) -> int:
    for name in ("num_samples", "batch_size"):
        if getattr(options, name) < 1:
            raise ValueError(
                f"--{name.replace('_', '-')}: expected at least 1, got {getattr(options, name)}"
            )
    prompts = read_prompts(options.prompts, options.file, options.format)
    wanted = list(_wanted(prompts, options.num_samples))
    device, dtype = device_and_dtype(options.dtype)
    settings = {**asdict(sampling_settings(options)), "format": options.format, "dtype": dtype}
    if options.out is not None:
        wanted = _not_there(wanted, options, settings)
    if not wanted:
        sys.stdout.write(f"{options.out}: all answers are there\n")
        return 0
    with model_folder(options.model) as model:
        from lightning_marlhf.commands.answering import Answerer

        templated = options.format == CHAT
        answerer = Answerer(model.source, device=device, dtype=dtype, chat_template=templated)
        wanted = _fitting(answerer, wanted, options)
        if not wanted:
            return 0 if options.out is not None and options.out.exists() else 1
        record = partial(
            Completion, model=options.model, seed=options.seed, step=model.step, settings=settings
        )
        made = _completions(answerer, wanted, options, record)
        return _keep(made, len(wanted), options) if options.out else _show(made, wanted, options)


def _wanted(prompts: Sequence[Prompt], num_samples: int) -> Iterator[_Wanted]:
    for prompt in prompts:
        for sample in range(num_samples):
            name = prompt.sample_id if num_samples == 1 else f"{prompt.sample_id}/{sample}"
            yield _Wanted(name, prompt, sample)


def _not_there(
    wanted: Sequence[_Wanted], options: argparse.Namespace, settings: Mapping[str, Any]
) -> list[_Wanted]:
    """Leave out the answers that the file has already; refuse a file of other answers."""
    out: Path = options.out
    if options.overwrite:
        out.unlink(missing_ok=True)
    if not out.exists():
        return list(wanted)
    cut_unfinished_line(out)
    prompts = {each.sample_id: each.prompt.text for each in wanted}
    there = set()
    for row in read_completions(out):
        expected = (prompts.get(row.sample_id), options.model, options.seed, settings)
        if expected != (row.prompt, row.model, row.seed, row.settings):
            raise ValueError(
                f"{out} holds other completions (of sample {row.sample_id} the prompt, model, seed or settings "
                "differ): give another --out, or --overwrite"
            )
        there.add(row.sample_id)
    return [each for each in wanted if each.sample_id not in there]


def _fitting(
    answerer: "Answerer", wanted: Sequence[_Wanted], options: argparse.Namespace
) -> list[_Wanted]:
    """Leave out prompts that the model has no room for, and say so."""
    room = answerer.positions - options.max_new_tokens
    prompts = {each.prompt.sample_id: each.prompt.text for each in wanted}
    lengths = {name: len(answerer.tokenize(text)) for name, text in prompts.items()}
    too_long = [name for name, length in lengths.items() if length > room]
    if too_long:
        sys.stderr.write(
            f"prompts left out: {len(too_long)} (the first is {too_long[0]}), longer than the {room} tokens that "
            f"{options.model} has room for beside {options.max_new_tokens} new ones\n"
        )
    return [each for each in wanted if lengths[each.prompt.sample_id] <= room]


def _completions(
    answerer: "Answerer",
    wanted: Sequence[_Wanted],
    options: argparse.Namespace,
    record: Callable[..., Completion],
) -> Iterator[list[Completion]]:
    """Yield the completions in the order of the prompts, batch by batch."""
    for batch in batches(wanted, options.batch_size):
        rollout = _ask(answerer, batch, options)
        prompts = rollout.prompts
        yield [
            record(
                sample_id=each.sample_id,
                prompt=each.prompt.text,
                response=rollout.texts[i],
                num_tokens=int(rollout.response_mask[i].sum()),
                ended=bool(rollout.ended[i]),
                reference=each.prompt.reference,
                prompt_ids=prompts.input_ids[i][prompts.attention_mask[i]].tolist(),
                response_ids=rollout.response_ids[i][rollout.response_mask[i]].tolist(),
            )
            for i, each in enumerate(batch)
        ]


def _ask(answerer: "Answerer", batch: Sequence[_Wanted], options: argparse.Namespace) -> "Rollout":
    import torch

    from lightning_marlhf.data.examples import Question, TokenizedQuestion
    from lightning_marlhf.rollout.generation import row_seeds

    rows = [
        TokenizedQuestion(
            Question(each.sample_id, each.prompt.text), answerer.tokenize(each.prompt.text)
        )
        for each in batch
    ]
    seeds = [row_seeds(options.seed, [each.prompt.sample_id], each.sample) for each in batch]
    return answerer.answer(rows, settings=sampling_settings(options), seeds=torch.cat(seeds))


def _keep(made: Iterator[list[Completion]], total: int, options: argparse.Namespace) -> int:
    """Add completions to the file as they come."""
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
        return INTERRUPTED
    sys.stdout.write(f"{options.out}: {done} answers of {options.model}\n")
    return 0


def _show(
    made: Iterator[list[Completion]], wanted: Sequence[_Wanted], options: argparse.Namespace
) -> int:
    """Print completions as they come."""
    several = len(wanted) > 1
    shown = several and not sys.stdout.isatty() and len(wanted) > options.batch_size
    last = None
    with Counter("answers", len(wanted), shown=shown) as counter:
        for completions in made:
            for row in completions:
                if options.json:
                    sys.stdout.write(json.dumps(row.to_dict(), ensure_ascii=False) + "\n")
                else:
                    heading = f"> {row.prompt}\n" if several and row.prompt != last else ""
                    blank = "\n" if heading and last is not None else ""
                    sys.stdout.write(f"{blank}{heading}{row.response}\n")
                last = row.prompt
            sys.stdout.flush()
            counter.add(len(completions))
    return 0
