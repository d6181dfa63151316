"""Options of the commands that sample answers."""

import argparse
from typing import TYPE_CHECKING

from lightning_marlhf.inference.model_folder import add_dtype_option

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
    """Add the options that say how answers are sampled.

    Args:
        parser: of a command.
        max_new_tokens: default.
        temperature: default; None adds no option.
        top_k: default.
        seed: default.
    """
    parser.add_argument(
        "--max-new-tokens",
        type=int,
        default=max_new_tokens,
        metavar="N",
        help=f"of an answer, its end included (default {max_new_tokens})",
    )
    if temperature is not None:
        parser.add_argument(
            "--temperature",
            type=float,
            default=temperature,
            help=f"0 takes the likeliest token (default {temperature:g})",
        )
    parser.add_argument("--top-k", type=int, default=top_k, help=f"0 is off (default {top_k})")
    parser.add_argument("--top-p", type=float, default=1.0, help="1 is off (default)")
    parser.add_argument(
        "--stop",
        action="append",
        default=[],
        metavar="TEXT",
        help="a text that ends an answer, which it belongs to; may be given several times",
    )
    parser.add_argument(
        "--seed",
        type=int,
        default=seed,
        help=f"the same seed gives the same answers, in any batch (default {seed})",
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
        stop=tuple(options.stop),
    )
