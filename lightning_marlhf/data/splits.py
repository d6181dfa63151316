"""Splits one data set into the phases SFT, reward model and PPO.

Source of the split by row: ``get_raw_dataset_split_index`` of ernie-research/MA-RLHF @ 807551d,
applications/DeepSpeed-Chat/dschat/utils/data/data_utils.py. It is disjoint by row only: rows of one group fall into all
phases. The split by group keeps them together.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from datasets import Dataset
from numpy.typing import NDArray

Rows = NDArray[np.integer]
SplitBy = Literal["group", "row"]

EVALUATION_SEED = 1234  # of the paper's evaluation subset


@dataclass(frozen=True)
class Phases:
    """Division of the rows of a split into phases.

    Attributes:
        shares: Fractions for SFT, reward model and PPO, normalised to 1. None: every phase has all rows.
        seed: Seed of the shuffle.
        by: "group" keeps rows of one group together.
    """

    shares: Sequence[float] | None
    seed: int
    by: SplitBy

    @classmethod
    def parse(cls, text: str | None, *, seed: int, by: SplitBy, expected: int) -> "Phases":
        """Read shares such as "2,4,4".

        Raises:
            ValueError: they are no such numbers, or not as many as there are phases.
        """
        if text is None:
            return cls(None, seed, by)
        try:
            shares = [float(share) for share in text.split(",")]
        except ValueError:
            shares = []
        if len(shares) != expected or min(shares) < 0 or sum(shares) <= 0:
            raise ValueError(
                f'data.init_args.phases: expected {expected} shares such as "2,8" or "2,4,4", got {text!r}'
            )
        return cls(shares, seed, by)

    def size(self, rows: int, phase: int) -> int:
        """Count the rows of a phase of a split by row; one by group comes as closely as groups allow."""
        if self.shares is None:
            return rows
        bounds = phase_bounds(self.shares, rows)
        return bounds[phase + 1] - bounds[phase]

    def rows(self, texts: Dataset, phase: int) -> Sequence[int]:
        """Return the rows of a phase, counted from 0, in the order of the shuffle."""
        if self.shares is None:
            return range(len(texts))
        if self.by == "row":
            return phase_by_row(len(texts), self.shares, phase, seed=self.seed).tolist()
        groups = texts["group"][:]
        return phase_by_group(groups, self.shares, phase, seed=self.seed).tolist()

    def shared_groups(self, texts: Dataset, phase: int) -> tuple[int, int]:
        """Count the groups of a phase, and those of them that other phases have too, if there are phases."""
        groups = np.array(texts["group"][:])
        mine = self.rows(texts, phase)
        others = np.ones(len(groups), dtype=bool)
        others[mine] = False
        found = set(groups[mine].tolist())
        return len(found), len(found & set(groups[others].tolist()))


def phase_bounds(shares: Sequence[float], size: int) -> list[int]:
    """Cut ``size`` rows by shares; phase k holds places bounds[k] to bounds[k + 1].

    Each phase is rounded separately, and the surplus or deficit is taken from all bounds but the first, as
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


def phase_by_row(size: int, shares: Sequence[float], index: int, *, seed: int) -> Rows:
    """Return the rows of phase ``index``, in the phase's order."""
    bounds = phase_bounds(shares, size)
    return shuffled(seed, size)[bounds[index] : bounds[index + 1]]


def phase_by_group(groups: Sequence[str], shares: Sequence[float], index: int, *, seed: int) -> Rows:
    """Return the rows of phase ``index`` where all rows of a group are in one phase, in the order of `phase_by_row`.

    Groups, in the order of their first rows, are shuffled as rows are there, and cut where the number of rows is
    nearest to the shares. If no two rows share a group this is `phase_by_row` itself.

    Args:
        groups: The group of each row.
        shares: Fractions of the rows for the phases.
        index: Index of the phase.
        seed: Seed of the shuffle.
    """
    number_of_group = {group: number for number, group in enumerate(dict.fromkeys(groups))}
    groups_of_rows = np.array([number_of_group[group] for group in groups], dtype=np.int64)
    order = shuffled(seed, len(number_of_group))
    rows_before = np.concatenate([[0], np.bincount(groups_of_rows)[order].cumsum()])
    bounds = phase_bounds(shares, len(groups))
    start, stop = (np.abs(rows_before - bound).argmin() for bound in bounds[index : index + 2])
    rows = shuffled(seed, len(groups))
    return rows[np.isin(groups_of_rows[rows], order[start:stop])]


def evaluation_subset(size: int, rows: int, *, shuffled: bool, seed: int = EVALUATION_SEED) -> Rows:
    """Return the held-out rows on which the paper compares policies: the first ones, ``shuffled`` or as stored.

    Source: inference/inference_with_rewards.py of the release; it shuffles TL;DR and HH-RLHF by ``Dataset.shuffle`` of
    `datasets`, of which this is the algorithm, and takes WebGPT in order.
    """
    if not shuffled:
        return np.arange(min(size, rows))
    return np.random.default_rng(seed).permutation(size)[:rows]
