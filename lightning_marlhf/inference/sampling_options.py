"""argparse options of commands that do not read `inference.options` yet. To be deleted with the last of them."""

import argparse
from typing import TYPE_CHECKING

from lightning_marlhf.inference.options import FORMATS, TEXT

if TYPE_CHECKING:
    from lightning_marlhf.rollout.generation import SamplingSettings


def add_sampling_options(
    parser: argparse.ArgumentParser,
    *,
    max_new_tokens: int,
    temperature: float | None = 1.0,
    top_k: int = 0,
    seed: int = 1,
) -> None:
    """Add the options that say how responses are sampled."""
    parser.add_argument("--max-new-tokens", type=int, default=max_new_tokens, metavar="N")
    if temperature is not None:
        parser.add_argument("--temperature", type=float, default=temperature)
    parser.add_argument("--top-k", type=int, default=top_k)
    parser.add_argument("--top-p", type=float, default=1.0)
    parser.add_argument("--stop", action="append", default=[], metavar="TEXT")
    parser.add_argument("--seed", type=int, default=seed)
    add_dtype_option(parser)


def sampling_settings(options: argparse.Namespace) -> "SamplingSettings":
    """Read the options that say how responses are sampled."""
    from lightning_marlhf.rollout.generation import SamplingSettings

    return SamplingSettings(
        max_new_tokens=options.max_new_tokens,
        temperature=options.temperature,
        top_k=options.top_k,
        top_p=options.top_p,
        stop=tuple(options.stop),
    )


def add_format_option(parser: argparse.ArgumentParser) -> None:
    """Add `--format`."""
    parser.add_argument("--format", default=TEXT, choices=FORMATS)


def add_dtype_option(parser: argparse.ArgumentParser) -> None:
    """Add `--dtype`."""
    parser.add_argument(
        "--dtype", default="auto", choices=["auto", "float32", "bfloat16", "float16"]
    )
