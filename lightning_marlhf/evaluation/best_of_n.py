"""Expected score of best-of-N sampling for many N, from one pool of scored responses per prompt.

Of the m responses to a prompt, sorted by score, the i-th is the best of N drawn without replacement in C(i-1, N-1) of
C(m, N) cases. The mean with these weights is unbiased, and has the least variance of all unbiased estimates.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import takewhile

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln, softmax

from lightning_marlhf.config.options import ConfigError
from lightning_marlhf.evaluation.bootstrap import interval
from lightning_marlhf.evaluation.scored_folder import scores_by_prompt
from lightning_marlhf.records import BestOfN, BestOfNPoint, Completion, MeanInterval

NS = (1, 2, 4, 8, 16, 32, 64)

Pool = Mapping[str, Sequence[float]]
"""Scores of one prompt's responses, by the scores' names."""


def estimate_from_completions(
    rows: Sequence[Completion], *, chooser: str, ns: Sequence[int], sources: Mapping[str, str]
) -> BestOfN:
    """Estimate best-of-N for each temperature at which completions were sampled.

    Args:
        rows: Scored completions, several per prompt.
        chooser: Name of the score by which the best response is chosen.
        ns: Values of N; empty: those of ``NS`` that every prompt has responses for.
        sources: Source of each score, by name.

    Raises:
        ConfigError: A completion lacks the chooser's score, or a prompt has fewer responses than the largest N.
    """
    names = _score_names(rows, chooser)
    by_temperature: dict[float | None, list[Completion]] = {}
    for row in rows:
        by_temperature.setdefault(row.settings.get("temperature"), []).append(row)
    pools = {each: scores_by_prompt(of, names) for each, of in by_temperature.items()}
    smallest = min(len(pool[chooser]) for each in pools.values() for pool in each.values())
    ns = sorted(set(ns or takewhile(lambda n: n <= smallest, NS)))
    if max(ns) > smallest:
        raise ConfigError(
            f"--n {max(ns)}: a prompt has only {smallest} responses of one temperature; expected at most as many"
        )
    models = list(dict.fromkeys(row.model for row in rows))
    return BestOfN(
        model=models[0] if len(models) == 1 else "",
        chooser=chooser,
        scorers={name: sources.get(name, "") for name in names},
        num_prompts=len({row.prompt for row in rows}),
        num_samples=smallest,
        points=[
            point
            for temperature, pool in pools.items()
            for point in best_of_n(pool, ns, chooser=chooser, temperature=temperature)
        ],
    )


def _score_names(rows: Sequence[Completion], chooser: str) -> list[str]:
    """Return the chooser's name, then the other scores that all completions have."""
    for number, row in enumerate(rows, start=1):
        if chooser not in row.scores:
            has = ", ".join(row.scores) or "none"
            raise ConfigError(
                f"--score {chooser}: completion {number} has no such score (it has: {has}); --reward-model gives "
                "rm and held_out, --gold gives gold"
            )
    others = set.intersection(*(set(row.scores) for row in rows)) - {chooser}
    return [chooser, *(name for name in rows[0].scores if name in others)]


def kl_bound(n: int) -> float:
    """Return an upper bound on KL(best-of-n || policy) in nats: log n - (n - 1)/n (arXiv 2401.01879, theorem 1).

    >>> kl_bound(1), round(kl_bound(4), 4)  # log 4 - 3/4
    (0.0, 0.6363)
    """
    return math.log(n) - (n - 1) / n


def rank_weights(pool: int, ns: Sequence[int]) -> NDArray[np.float64]:
    """Return the probability that each rank of a pool, the lowest first, is the best of n: [n, rank].

    C(i - 1, n - 1) / C(m, n) for rank i of m. As all C(i - 1, n - 1) of one n add up to C(m, n), a softmax of their
    logarithms gives the weights, and nothing overflows.

    Args:
        pool: Number of responses to a prompt, m.
        ns: Numbers of responses drawn.

    Raises:
        ValueError: An n is below 1 or above the pool.

    >>> rank_weights(3, [1, 2, 3]).round(3).tolist()  # of 3 pairs, the second is the best in one
    [[0.333, 0.333, 0.333], [0.0, 0.333, 0.667], [0.0, 0.0, 1.0]]
    """
    if not ns or min(ns) < 1 or max(ns) > pool:
        raise ValueError(f"N are {list(ns)}: expected numbers from 1 to {pool}, the number of responses")
    below = np.arange(pool)  # i - 1
    others = np.array(ns)[:, None] - 1  # n - 1
    rest = np.maximum(below - others, 0)
    log_cases = gammaln(below + 1) - gammaln(others + 1) - gammaln(rest + 1)
    return softmax(np.where(below < others, -np.inf, log_cases), axis=1)  # type: ignore[no-any-return]


def expected_best(
    chooser: NDArray[np.floating], scores: NDArray[np.floating], ns: Sequence[int]
) -> NDArray[np.float64]:
    """Estimate without bias the score of the response with the highest ``chooser`` of n: [prompt, n].

    Args:
        chooser: Score by which the best response is chosen, [prompt, response]. Ties are chosen equally often.
        scores: Scores of the same responses, [prompt, response]; the same array gives the expected maximum.
        ns: Numbers of responses drawn.

    Raises:
        ValueError: An n is below 1 or above the number of responses, or a score is NaN or infinite.

    >>> scores = np.array([[3.0, 1.0, 2.0]])
    >>> expected_best(scores, scores, [1, 2, 3]).round(3).tolist()  # of pairs: (3 + 3 + 2) / 3
    [[2.0, 2.667, 3.0]]
    """
    if not (np.isfinite(chooser).all() and np.isfinite(scores).all()):
        raise ValueError("expected finite scores, got NaN or infinite ones")
    order = chooser.argsort(axis=1, kind="stable")
    ranked = _average_ties(np.take_along_axis(chooser, order, axis=1), np.take_along_axis(scores, order, axis=1))
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
    """Estimate the expected scores of best-of-n sampling, averaged over prompts.

    Args:
        pools: Scores of each prompt's responses; prompts may differ in their number.
        ns: Numbers of responses drawn, up to the smallest pool.
        chooser: Name of the score by which the best response is chosen; the others are reported for that response.
        temperature: Sampling temperature of the responses.
        resamples: Number of bootstrap resamples.
        seed: Seed of the bootstrap.

    Raises:
        ValueError: There are no prompts, an n is not from 1 to the smallest pool, or a score is NaN or infinite.
    """
    if not pools:
        raise ValueError("expected prompts with scored responses, got none")
    names = list(next(iter(pools.values())))

    def expected(pool: Pool) -> NDArray[np.float64]:  # [n, name]
        scores = np.array([pool[name] for name in names], dtype=float)
        return expected_best(np.broadcast_to(pool[chooser], scores.shape), scores, ns).T

    values = np.stack([expected(pool) for pool in pools.values()])
    mean = values.mean(axis=0)  # [n, name]
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


def _average_ties(chooser: NDArray[np.floating], scores: NDArray[np.floating]) -> NDArray[np.float64]:
    """Average the scores of responses with equal chooser scores.

    >>> _average_ties(np.array([[1.0, 1.0, 2.0]]), np.array([[5.0, 3.0, 0.0]])).tolist()
    [[4.0, 4.0, 0.0]]
    """
    starts = np.ones(chooser.shape, dtype=bool)
    starts[:, 1:] = np.diff(chooser, axis=1) > 0
    group = starts.ravel().cumsum() - 1
    means = np.bincount(group, scores.ravel()) / np.bincount(group)
    return means[group].reshape(scores.shape)
