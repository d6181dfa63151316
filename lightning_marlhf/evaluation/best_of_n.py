"""What the best of N answers is worth, for every N, from one pool of scored answers per prompt.

Of the answers of a prompt, sorted by score, the i-th of m is the best of N drawn without replacement in C(i-1, N-1) of
C(m, N) cases. The mean with these weights is unbiased, and has the least variance of all unbiased ones.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln, softmax

from lightning_marlhf.evaluation.bootstrap import interval
from lightning_marlhf.records import BestOfNPoint, MeanInterval

Pool = Mapping[str, Sequence[float]]
"""The scores of one prompt's answers, by the scores' names."""


def kl_bound(n: int) -> float:
    """Bound the KL of best-of-n to the policy it draws from: log n - (n - 1)/n nats (arXiv 2401.01879, theorem 1).

    >>> kl_bound(1), round(kl_bound(4), 4)  # log 4 - 3/4
    (0.0, 0.6363)
    """
    return math.log(n) - (n - 1) / n


def rank_weights(pool: int, ns: Sequence[int]) -> NDArray[np.float64]:
    """Say how likely each rank of a pool, the lowest first, is the best of n: [number, rank].

    C(i - 1, n - 1) / C(m, n) for rank i of m. As all C(i - 1, n - 1) of one n add up to C(m, n), a softmax of their
    logarithms gives the weights, and nothing overflows.

    Args:
        pool: m, answers of a prompt.
        ns: numbers of answers drawn.

    Raises:
        ValueError: an n is below 1 or above the pool.

    >>> rank_weights(3, [1, 2, 3]).round(3).tolist()  # of 3 pairs, the second is the best in one
    [[0.333, 0.333, 0.333], [0.0, 0.333, 0.667], [0.0, 0.0, 1.0]]
    """
    if not ns or min(ns) < 1 or max(ns) > pool:
        raise ValueError(
            f"N are {list(ns)}: expected numbers from 1 to {pool}, the answers there are"
        )
    below = np.arange(pool)  # i - 1
    others = np.array(ns)[:, None] - 1  # n - 1
    rest = np.maximum(below - others, 0)
    log_cases = gammaln(below + 1) - gammaln(others + 1) - gammaln(rest + 1)
    return softmax(np.where(below < others, -np.inf, log_cases), axis=1)  # type: ignore[no-any-return]


def expected_best(
    chooser: NDArray[np.floating], scores: NDArray[np.floating], ns: Sequence[int]
) -> NDArray[np.float64]:
    """Estimate without bias the score of the answer that has the highest ``chooser`` of n: [prompt, number].

    Args:
        chooser: [prompt, answer], by which the best is chosen. Answers of one score are chosen equally often.
        scores: of the same answers; the same array gives the expected maximum.
        ns: numbers of answers drawn.

    Raises:
        ValueError: an n is below 1 or above the number of answers, or a score is NaN or infinite.

    >>> scores = np.array([[3.0, 1.0, 2.0]])
    >>> expected_best(scores, scores, [1, 2, 3]).round(3).tolist()  # of pairs: (3 + 3 + 2) / 3
    [[2.0, 2.667, 3.0]]
    """
    if not (np.isfinite(chooser).all() and np.isfinite(scores).all()):
        raise ValueError("expected finite scores, got NaN or infinite ones")
    order = chooser.argsort(axis=1, kind="stable")
    ranked = _share_ties(
        np.take_along_axis(chooser, order, axis=1), np.take_along_axis(scores, order, axis=1)
    )
    return ranked @ rank_weights(chooser.shape[1], ns).T


def best_of_n(
    pools: Mapping[str, Pool],
    ns: Sequence[int],
    *,
    chooser: str,
    temperature: float | None = None,
    resamples: int = 1_000,
    seed: int = 0,
) -> list[BestOfNPoint]:
    """Estimate what the best of n answers is worth, over prompts.

    Args:
        pools: of each prompt; prompts may differ in how many answers they have.
        ns: numbers of answers drawn, up to the smallest pool.
        chooser: name of the score by which the best is chosen; the others show what the choice is worth to them.
        temperature: at which the answers were sampled.
        resamples: draws for the intervals.
        seed: of the draws.

    Raises:
        ValueError: there are no prompts, an n is not from 1 to the smallest pool, or a score is NaN or infinite.
    """
    if not pools:
        raise ValueError("expected prompts with scored answers, got none")
    names = list(next(iter(pools.values())))
    values = np.stack([_worth(pool, names, chooser, ns) for pool in pools.values()])
    mean = values.mean(axis=0)  # [number, name]
    if len(pools) > 1:
        ends: tuple[NDArray, NDArray] = interval(
            lambda rows: values[rows].mean(axis=0), list(pools), resamples=resamples, seed=seed
        )
    else:
        ends = (np.full(mean.shape, None), np.full(mean.shape, None))
    triples = np.stack([mean.astype(object), *ends], axis=2).tolist()
    return [
        BestOfNPoint(
            temperature=temperature,
            n=n,
            kl_bound=kl_bound(n),
            scores={name: MeanInterval(*triple) for name, triple in zip(names, row, strict=True)},
        )
        for n, row in zip(ns, triples, strict=True)
    ]


def _worth(
    pool: Pool, names: Sequence[str], chooser: str, ns: Sequence[int]
) -> NDArray[np.float64]:
    """Estimate what the best of n is worth by each score, for one prompt: [number, name]."""
    scores = np.array([pool[name] for name in names], dtype=float)
    return expected_best(np.broadcast_to(pool[chooser], scores.shape), scores, ns).T


def _share_ties(chooser: NDArray[np.floating], scores: NDArray[np.floating]) -> NDArray[np.float64]:
    """Give answers that the sorted chooser cannot tell apart the mean of their scores.

    >>> _share_ties(np.array([[1.0, 1.0, 2.0]]), np.array([[5.0, 3.0, 0.0]])).tolist()
    [[4.0, 4.0, 0.0]]
    """
    starts = np.ones(chooser.shape, dtype=bool)
    starts[:, 1:] = np.diff(chooser, axis=1) > 0
    group = starts.ravel().cumsum() - 1
    means = np.bincount(group, scores.ravel()) / np.bincount(group)
    return means[group].reshape(scores.shape)
