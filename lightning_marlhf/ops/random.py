"""Random numbers that are a function of a seed and a counter (splitmix64): no state, no generator.

A row draws the same numbers on any device and rank, independent of the other rows of its batch.
Good enough to sample and to shuffle; not for cryptography.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

# Steele, Lea and Flood 2014, https://prng.di.unimi.it/splitmix64.c, as signed 64-bit numbers:
# products wrap.
_GOLDEN_GAMMA = 0x9E3779B97F4A7C15 - 2**64
_FIRST_FACTOR = 0xBF58476D1CE4E5B9 - 2**64
_SECOND_FACTOR = 0x94D049BB133111EB - 2**64


def bits(seeds: Int[Tensor, "*shape"], counters: Int[Tensor, "*shape"]) -> Int[Tensor, "*shape"]:
    """Return the 64 random bits number ``counters`` of each stream in ``seeds``, as signed int64.

    >>> bits(torch.tensor([7, 7, 8]), torch.tensor([0, 1, 0])).unique().numel()
    3
    """
    return _mix(_mix(seeds) + (counters + 1) * _GOLDEN_GAMMA)


def uniform(seeds: Int[Tensor, "*shape"], counters: Int[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Return uniform float64 numbers in [0, 1), from the upper 53 bits.

    >>> 0.0 <= uniform(torch.tensor([7]), torch.tensor([0])).item() < 1.0
    True
    """
    return _shift_right(bits(seeds, counters), 11).to(torch.float64) * 2.0**-53


def _mix(state: Tensor) -> Tensor:
    state = (state ^ _shift_right(state, 30)) * _FIRST_FACTOR
    state = (state ^ _shift_right(state, 27)) * _SECOND_FACTOR
    return state ^ _shift_right(state, 31)


def _shift_right(x: Tensor, places: int) -> Tensor:
    """Shift as if unsigned: torch's ``>>`` keeps the sign."""
    return (x >> places) & ((1 << (64 - places)) - 1)
