"""What the best of N answers is worth, for every N, from one pool of scored answers per prompt.

Of the answers of a prompt, sorted by score, the i-th of m is the best of N drawn without replacement in C(i-1, N-1) of
C(m, N) cases. The mean with these weights is unbiased, and has the least variance of all unbiased ones.
"""

import math
from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from lightning_marlhf.evaluation.pass_at_k import bootstrap_interval
from lightning_marlhf.records import BestOfNPoint, MeanInterval


def kl_bound(n: int) -> float:
    """Bound the KL of best-of-n to the policy it draws from: log n - (n - 1)/n nats (arXiv 2401.01879, theorem 1).

    >>> kl_bound(1), round(kl_bound(4), 4)  # log 4 - 3/4
    (0.0, 0.6363)
    """
    return math.log(n) - (n - 1) / n


def rank_weights(pool: int, ns: Sequence[int]) -> Float[Tensor, "number rank"]:
    """Say how likely each rank of a pool, the lowest first, is the best of n.

    C(i - 1, n - 1) / C(m, n) for rank i of m. As all C(i - 1, n - 1) of one n add up to C(m, n), a softmax of their
    logarithms gives the weights, and nothing overflows.

    Args:
        pool: m, answers of a prompt.
        ns: numbers of answers drawn.

    Raises:
        ValueError: an n is below 1 or above the pool.

    >>> rank_weights(3, [1, 2, 3]).mul(3).round(decimals=6).tolist()  # of 3 pairs
    [[1.0, 1.0, 1.0], [0.0, 1.0, 2.0], [0.0, 0.0, 3.0]]
    """
    if not ns or min(ns) < 1 or max(ns) > pool:
        raise ValueError(
            f"N are {list(ns)}: expected numbers from 1 to {pool}, the answers there are"
        )
    below = torch.arange(pool, dtype=torch.float64)  # i - 1
    others = torch.tensor(ns, dtype=torch.float64).unsqueeze(1) - 1  # n - 1
    possible = below >= others
    log_cases = (
        torch.lgamma(below + 1)
        - torch.lgamma(others + 1)
        - torch.lgamma((below - others).clamp(min=0) + 1)
    )
    return log_cases.masked_fill(~possible, -torch.inf).softmax(dim=1)


def expected_best(
    chooser: Float[Tensor, "prompt sample"],
    scores: Float[Tensor, "prompt sample"],
    ns: Sequence[int],
) -> Float[Tensor, "prompt number"]:
    """Estimate without bias the score of the answer that has the highest ``chooser`` of n.

    Args:
        chooser: by which the best is chosen. Answers of one score are chosen equally often.
        scores: of the same answers; the same tensor gives the expected maximum.
        ns: numbers of answers drawn.

    Raises:
        ValueError: an n is below 1 or above the number of answers, or a score is NaN or infinite.

    >>> scores = torch.tensor([[3.0, 1.0, 2.0]])
    >>> expected_best(scores, scores, [1, 2, 3]).round(decimals=6).tolist()  # of pairs: (3 + 3 + 2) / 3
    [[2.0, 2.666667, 3.0]]
    """
    chooser, scores = chooser.double(), scores.double()
    if not (chooser.isfinite().all() and scores.isfinite().all()):
        raise ValueError("expected finite scores, got NaN or infinite ones")
    order = chooser.argsort(dim=1)
    ranked = _share_ties(chooser.gather(1, order), scores.gather(1, order))
    return ranked @ rank_weights(chooser.shape[1], ns).T


def best_of_n(
    pools: Sequence[Mapping[str, Sequence[float]]],
    ns: Sequence[int],
    *,
    chooser: str,
    temperature: float | None = None,
    resamples: int = 1_000,
    seed: int = 0,
) -> list[BestOfNPoint]:
    """Estimate what the best of n answers is worth, over prompts.

    Args:
        pools: of each prompt the answers' scores by the scores' names; prompts may differ in how many they have.
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
    names = list(pools[0])
    by_size: dict[int, list[Mapping[str, Sequence[float]]]] = {}
    for pool in pools:
        by_size.setdefault(len(pool[chooser]), []).append(pool)
    parts = []
    for size in sorted(by_size):
        scores = {name: torch.tensor([pool[name] for pool in by_size[size]]) for name in names}
        parts.append(
            torch.stack([expected_best(scores[chooser], scores[name], ns) for name in names], dim=2)
        )
    values = torch.cat(parts)  # [prompt, number, name]
    ends = bootstrap_interval(values.flatten(1), resamples=resamples, seed=seed)
    triples = torch.stack([values.mean(dim=0), *ends.view(2, len(ns), len(names))], dim=2)
    return [
        BestOfNPoint(
            temperature=temperature,
            n=n,
            kl_bound=kl_bound(n),
            scores={name: MeanInterval(*triple) for name, triple in zip(names, row, strict=True)},
        )
        for n, row in zip(ns, triples.tolist(), strict=True)
    ]


def _share_ties(
    sorted_chooser: Float[Tensor, "prompt rank"], scores: Float[Tensor, "prompt rank"]
) -> Float[Tensor, "prompt rank"]:
    """Give answers that the chooser cannot tell apart the mean of their scores.

    >>> _share_ties(torch.tensor([[1.0, 1.0, 2.0]]), torch.tensor([[5.0, 3.0, 0.0]])).tolist()
    [[4.0, 4.0, 0.0]]
    """
    group = torch.zeros_like(sorted_chooser, dtype=torch.int64)
    group[:, 1:] = (sorted_chooser.diff(dim=1) > 0).cumsum(dim=1)
    sums = torch.zeros_like(scores).scatter_add(1, group, scores)
    sizes = torch.zeros_like(scores).scatter_add(1, group, torch.ones_like(scores))
    return (sums / sizes.clamp(min=1)).gather(1, group)
