"""95 % percentile bootstrap intervals, by resampling prompts or problems: their responses are drawn together."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor

CONFIDENCE = 0.95
_TAILS = ((1 - CONFIDENCE) / 2, 1 - (1 - CONFIDENCE) / 2)


def mean_interval(values: NDArray, groups: Sequence[str], *, resamples: int = 10_000, seed: int) -> tuple[float, float]:
    """Return the interval of the mean over rows.

    Args:
        values: One number per row.
        groups: Prompt of each row.
        resamples: Number of bootstrap resamples.
        seed: Seed of the resampling.

    Raises:
        ValueError: There are fewer than two groups.
    """
    group = _number_groups(groups)
    sums, counts = np.bincount(group, values), np.bincount(group)
    low, high = stats.bootstrap(
        (sums, counts),
        lambda sums, counts, axis: sums.sum(axis) / counts.sum(axis),
        paired=True,
        vectorized=True,
        batch=100,
        n_resamples=resamples,
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return float(low), float(high)


def interval(
    statistic: Callable[[NDArray[np.intp]], NDArray], groups: Sequence[str], *, resamples: int, seed: int
) -> tuple[NDArray, NDArray]:
    """Return the lower and upper ends of the interval of any statistic, or of several at once.

    Args:
        statistic: Computes a number, or a vector of them, from the numbers of rows (a row may come several times).
        groups: Prompt of each row.
        resamples: Number of bootstrap resamples.
        seed: Seed of the resampling.

    Raises:
        ValueError: There are fewer than two groups.
    """
    group = _number_groups(groups)
    members = np.split(np.argsort(group, kind="stable"), np.cumsum(np.bincount(group))[:-1])
    generator = np.random.default_rng(seed)
    drawn = generator.integers(len(members), size=(resamples, len(members)))
    found = [statistic(np.concatenate([members[number] for number in row])) for row in drawn]
    low, high = np.quantile(found, _TAILS, axis=0)
    return low, high


def column_means_interval(
    values: Float[Tensor, "row number"], *, resamples: int, seed: int
) -> Float[Tensor, "2 number"]:
    """Return the intervals of the means of columns; torch draws the rows, on every rank the same.

    Args:
        values: One row per problem.
        resamples: Number of bootstrap resamples.
        seed: Seed of the resampling.

    Returns:
        The lower and the upper ends.
    """
    generator = torch.Generator().manual_seed(seed)
    rows = len(values)
    means = torch.stack(
        [values[torch.randint(rows, (rows,), generator=generator)].mean(dim=0) for _ in range(resamples)]
    )
    return means.quantile(torch.tensor(_TAILS, dtype=means.dtype), dim=0)


def _number_groups(groups: Sequence[str]) -> NDArray[np.intp]:
    names, group = np.unique(np.asarray(groups, dtype=object), return_inverse=True)
    if len(names) < 2:
        raise ValueError(f"expected rows of at least two prompts, got {len(names)}")
    return group
