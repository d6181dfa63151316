"""`generate MODEL [PROMPT ...]`: answers prompts with a run, an export, a checkpoint or a Hub model."""

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_marlhf.commands import errors

if TYPE_CHECKING:
    from lightning_marlhf.types import Rollout

EXPORT = "export"


def main(arguments: Sequence[str]) -> int:
    """Answer prompts; see `generate --help`."""
    options = _parser().parse_args(arguments[1:])
    return errors.call(lambda: _run(options))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m lightning_marlhf generate",
        description="Answer prompts from the command line, a file, or standard input (one prompt a line).",
    )
    parser.add_argument(
        "model", help="run directory, export/ folder, .ckpt of a run, or Hugging Face Hub id"
    )
    parser.add_argument("prompts", nargs="*", help="prompts; none reads --file or standard input")
    parser.add_argument(
        "--file", type=Path, help="prompts: .jsonl with `prompt` keys, else one a line"
    )
    parser.add_argument("--max-new-tokens", type=int, default=128, metavar="N")
    parser.add_argument(
        "--temperature", type=float, default=1.0, help="0 takes the likeliest token (default 1)"
    )
    parser.add_argument("--top-k", type=int, default=0, help="0 is off (default)")
    parser.add_argument("--top-p", type=float, default=1.0, help="1 is off (default)")
    parser.add_argument(
        "--num-samples", type=int, default=1, metavar="N", help="answers to each prompt"
    )
    parser.add_argument(
        "--seed", type=int, default=1, help="the same seed gives the same answers, in any batch"
    )
    parser.add_argument(
        "--batch-size", type=int, default=16, metavar="N", help="answers made at a time"
    )
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16", "float16"])
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    return parser


def _run(options: argparse.Namespace) -> int:
    prompts = read_prompts(options.prompts, options.file)
    for name in ("num_samples", "batch_size"):
        if getattr(options, name) < 1:
            raise ValueError(
                f"--{name.replace('_', '-')}: expected at least 1, got {getattr(options, name)}"
            )
    with model_folder(options.model) as source:
        for number, answer in enumerate(answers(source, prompts, options)):
            _write(
                answer,
                number=number,
                options=options,
                several=len(prompts) > 1 or options.num_samples > 1,
            )
    return 0


def read_prompts(given: Sequence[str], file: Path | None) -> list[str]:
    """Take the prompts from the command line, a file, or standard input.

    Raises:
        ValueError: there are none, or a line of a .jsonl has no `prompt`.
    """
    if given and file:
        raise ValueError("prompts on the command line and --file: give one of them")
    if given:
        return list(given)
    if file is not None and file.suffix == ".jsonl":
        from lightning_marlhf.records import read_jsonl

        prompts = [row.get("prompt") for row in read_jsonl(file)]
        if not all(isinstance(prompt, str) for prompt in prompts):
            raise ValueError(f"{file}: expected an object with a `prompt` text on every line")
    elif file is not None:
        prompts = file.read_text(encoding="utf-8").splitlines()
    elif sys.stdin.isatty():
        raise ValueError("no prompts: give them as arguments, with --file, or on standard input")
    else:
        prompts = sys.stdin.read().splitlines()
    prompts = [prompt for prompt in prompts if prompt]
    if not prompts:
        raise ValueError(f"no prompts in {file or 'standard input'}")
    return prompts


@contextmanager
def model_folder(model: str) -> Iterator[str]:
    """Find the Hugging Face folder of a run or make one from a checkpoint; anything else is taken as it is.

    Raises:
        ValueError: a run directory without an export.
    """
    path = Path(model)
    if path.suffix == ".ckpt" and path.exists():
        from lightning_marlhf.commands.export import export_checkpoint

        with tempfile.TemporaryDirectory() as folder:
            export_checkpoint(path.resolve().parents[1], path, Path(folder) / EXPORT)
            yield str(Path(folder) / EXPORT)
    elif (path / EXPORT).is_dir():
        yield str(path / EXPORT)
    elif (path / "checkpoints").is_dir():
        raise ValueError(
            f"{model} has no export/ yet, as its run is not finished: name its checkpoint, "
            f"{path / 'checkpoints' / 'last.ckpt'}"
        )
    else:
        yield model


def answers(
    source: str, prompts: Sequence[str], options: argparse.Namespace
) -> Iterator[dict[str, Any]]:
    """Yield the answers in the order of the prompts, batch by batch.

    Raises:
        SourceError: the model cannot be had; one line says why.
    """
    import torch

    from lightning_marlhf.data.collate import Collator
    from lightning_marlhf.data.examples import Question
    from lightning_marlhf.hub.tokenizer import load_tokenizer
    from lightning_marlhf.models.backbone import load_causal_lm
    from lightning_marlhf.models.policy import Policy
    from lightning_marlhf.rollout.generation import SamplingSettings, generate, row_seeds

    settings = SamplingSettings(
        max_new_tokens=options.max_new_tokens,
        temperature=options.temperature,
        top_k=options.top_k,
        top_p=options.top_p,
    )
    device = "cuda" if torch.cuda.is_available() else "cpu"
    tokenizer = load_tokenizer(source)
    policy = Policy(load_causal_lm(source, tokenizer, dtype=options.dtype)).to(device).eval()
    questions = [
        Question(f"{number}/{sample}", prompt)
        for number, prompt in enumerate(prompts)
        for sample in range(options.num_samples)
    ]
    for start in range(0, len(questions), options.batch_size):
        batch = (
            Collator(tokenizer).prompts(questions[start : start + options.batch_size]).to(device)
        )
        seeds = row_seeds(options.seed, batch.sample_ids, 0)
        with torch.inference_mode():
            yield from _rows(
                generate(policy, batch, tokenizer=tokenizer, settings=settings, seeds=seeds)
            )


def _rows(rollout: "Rollout") -> Iterator[dict[str, Any]]:
    lengths = rollout.response_mask.sum(dim=1).tolist()
    for i, text in enumerate(rollout.texts):
        yield {
            "prompt": rollout.prompts.texts[i],
            "response": text,
            "sample": int(rollout.prompts.sample_ids[i].partition("/")[2]),
            "num_tokens": lengths[i],
            "ended": bool(rollout.ended[i]),
        }


def _write(
    answer: dict[str, Any], *, number: int, options: argparse.Namespace, several: bool
) -> None:
    if options.json:
        sys.stdout.write(json.dumps(answer, ensure_ascii=False) + "\n")
    elif several:
        rule = "" if number == 0 else "\n"
        head = f"{rule}> {answer['prompt']}\n" if answer["sample"] == 0 else ""
        sys.stdout.write(f"{head}{answer['response']}\n")
    else:
        sys.stdout.write(answer["response"] + "\n")
    sys.stdout.flush()
