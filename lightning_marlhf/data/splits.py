"""Which rows each phase trains on: SFT, reward model and PPO share a data set.

Source of the split by row: ``get_raw_dataset_split_index`` of ernie-research/MA-RLHF @ 807551d,
applications/DeepSpeed-Chat/dschat/utils/data/data_utils.py. It is disjoint by row only: rows of one post fall into all
phases. The split by post keeps them together.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.integer]

EVALUATION_SEED = 1234  # of the paper's evaluation subset


def phase_bounds(shares: Sequence[float], size: int) -> list[int]:
    """Cut ``size`` rows by shares; phase k holds places bounds[k] to bounds[k + 1].

    Each phase is rounded by itself, and what that makes too many or too few is taken from all bounds but the first, as
    released: it is the first phase that changes. (A bound below 0, which a share of 0 can get, is 0 here.)

    >>> phase_bounds((2, 4, 4), 7)
    [0, 1, 4, 7]
    """
    bounds = [0]
    for share in shares:
        bounds.append(bounds[-1] + round(share / sum(shares) * size))
    excess = bounds[-1] - size
    return [0, *(max(0, bound - excess) for bound in bounds[1:])]


def shuffled(seed: int, size: int) -> Rows:
    """Shuffle 0 to size - 1 as released."""
    rows = np.arange(size, dtype=np.uint32)
    np.random.RandomState(seed).shuffle(rows)
    return rows


def phase(size: int, shares: Sequence[float], index: int, *, seed: int) -> Rows:
    """Give the rows of phase ``index``, in the phase's order."""
    bounds = phase_bounds(shares, size)
    return shuffled(seed, size)[bounds[index] : bounds[index + 1]]


def phase_by_post(posts: Sequence[str], shares: Sequence[float], index: int, *, seed: int) -> Rows:
    """Give the rows of phase ``index`` where all rows of a post are in one phase, in the order of `phase`.

    The posts, in the order of their first rows, are shuffled as rows are in `phase` and cut where the number of rows is
    nearest to the shares. Where no two rows share a post this is `phase` itself.

    Args:
        posts: of each row.
        shares: of the phases, counted in rows.
        index: of the phase.
        seed: of the shuffle.
    """
    number_of_post = {post: number for number, post in enumerate(dict.fromkeys(posts))}
    posts_of_rows = np.array([number_of_post[post] for post in posts], dtype=np.int64)
    order = shuffled(seed, len(number_of_post))
    rows_before = np.concatenate([[0], np.bincount(posts_of_rows)[order].cumsum()])
    bounds = phase_bounds(shares, len(posts))
    start, stop = (np.abs(rows_before - bound).argmin() for bound in bounds[index : index + 2])
    rows = shuffled(seed, len(posts))
    return rows[np.isin(posts_of_rows[rows], order[start:stop])]


def evaluation_subset(size: int, rows: int, *, shuffled: bool, seed: int = EVALUATION_SEED) -> Rows:
    """Give the held-out rows on which the paper compares policies: the first ones, ``shuffled`` or as stored.

    Source: inference/inference_with_rewards.py of the release; it shuffles TL;DR and HH-RLHF by ``Dataset.shuffle`` of
    `datasets`, of which this is the algorithm, and takes WebGPT in order.
    """
    if not shuffled:
        return np.arange(min(size, rows))
    return np.random.default_rng(seed).permutation(size)[:rows]
