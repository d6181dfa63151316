"""Moments of parts, joined, are the moments of the whole."""

from functools import reduce

import torch

from lightning_marlhf.ops import moments
from tests.ops.ragged import noise, right_padded


def test_moments_of_parts_join_to_those_of_the_whole_in_any_order():
    x, mask = noise(6, 9, seed=0) + 100, right_padded([9, 0, 3, 1, 5, 9])
    parts = [moments.moments(x[rows], mask[rows]) for rows in (slice(0, 1), slice(1, 2), slice(2, 6))]
    for order in ((0, 1, 2), (2, 1, 0), (1, 0, 2)):
        first, *others = (parts[part] for part in order)
        joined = reduce(moments.join, others, first)
        real = x[mask]
        assert joined.count == len(real)
        torch.testing.assert_close(joined.mean, real.mean())
        torch.testing.assert_close(joined.var, real.var(correction=0))


def test_two_empty_sets_join_to_an_empty_one():
    empty = moments.moments(torch.zeros(2), torch.zeros(2, dtype=torch.bool))
    joined = moments.join(empty, empty)
    assert (joined.count, joined.mean, joined.var) == (0, 0, 0)
