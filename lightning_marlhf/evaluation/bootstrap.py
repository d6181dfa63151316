"""95 % percentile intervals by resampling prompts: several answers to one prompt are drawn together."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import stats

CONFIDENCE = 0.95


def mean_interval(
    values: NDArray, groups: Sequence[str], *, resamples: int = 10_000, seed: int
) -> tuple[float, float]:
    """Return the interval of the mean over rows.

    Args:
        values: of each row.
        groups: of each row: its prompt.
        resamples: how often the prompts are drawn again.
        seed: of the draws.

    Raises:
        ValueError: there are fewer than two groups.
    """
    group = _numbered(groups)
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
    statistic: Callable[[NDArray[np.intp]], NDArray],
    groups: Sequence[str],
    *,
    resamples: int,
    seed: int,
) -> tuple[NDArray, NDArray]:
    """Return the interval of any statistic, or of several at once: its lower and its upper end.

    Args:
        statistic: a number, or a vector of them, of the rows with these numbers (a row may come several times).
        groups: of each row: its prompt.
        resamples: how often the prompts are drawn again.
        seed: of the draws.

    Raises:
        ValueError: there are fewer than two groups.
    """
    group = _numbered(groups)
    members = np.split(np.argsort(group, kind="stable"), np.cumsum(np.bincount(group))[:-1])
    generator = np.random.default_rng(seed)
    drawn = generator.integers(len(members), size=(resamples, len(members)))
    found = [statistic(np.concatenate([members[number] for number in row])) for row in drawn]
    low, high = np.quantile(found, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], axis=0)
    return low, high


def _numbered(groups: Sequence[str]) -> NDArray[np.intp]:
    names, group = np.unique(np.asarray(groups, dtype=object), return_inverse=True)
    if len(names) < 2:
        raise ValueError(f"expected rows of at least two prompts, got {len(names)}")
    return group
