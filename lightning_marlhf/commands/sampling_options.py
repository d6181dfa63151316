"""Options of the commands that sample answers."""

import argparse
from typing import TYPE_CHECKING

from lightning_marlhf.commands.model_folder import add_dtype_option

if TYPE_CHECKING:
    from lightning_marlhf.rollout.generation import SamplingSettings


def add_sampling_options(parser: argparse.ArgumentParser, *, max_new_tokens: int) -> None:
    """Add the options that say how answers are sampled."""
    parser.add_argument(
        "--max-new-tokens",
        type=int,
        default=max_new_tokens,
        metavar="N",
        help=f"of an answer, EOS included (default {max_new_tokens})",
    )
    parser.add_argument(
        "--temperature", type=float, default=1.0, help="0 takes the likeliest token (default 1)"
    )
    parser.add_argument("--top-k", type=int, default=0, help="0 is off (default)")
    parser.add_argument("--top-p", type=float, default=1.0, help="1 is off (default)")
    parser.add_argument(
        "--seed", type=int, default=1, help="the same seed gives the same answers, in any batch"
    )
    add_dtype_option(parser)


def sampling_settings(options: argparse.Namespace) -> "SamplingSettings":
    """Read the options that say how answers are sampled."""
    from lightning_marlhf.rollout.generation import SamplingSettings

    return SamplingSettings(
        max_new_tokens=options.max_new_tokens,
        temperature=options.temperature,
        top_k=options.top_k,
        top_p=options.top_p,
    )
