"""Sums, means and variances over real elements only, and the mean of loss terms over a whole batch.

Everywhere ``mask`` is True on real elements. Values on padding are ignored: they may be NaN,
and no gradient reaches it. A mask without any True gives 0. Statistics over several ranks or
micro-batches are not gathered here: they come in as arguments (``mean``, ``var``, ``total``, ``all_reduce_sum``).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

Reduction = Literal["token", "sequence"]

# Added to a variance before the square root, so that equal elements whiten to 0. TRL and DeepSpeed
# use 1e-8 too.
WHITEN_EPSILON = 1e-8


def at_least_float32(x: Tensor) -> Tensor:
    """Raise half precision and integers to float32; keep float32 and float64 as they are.

    >>> at_least_float32(torch.ones(2, dtype=torch.bfloat16)).dtype
    torch.float32
    >>> at_least_float32(torch.ones(2, dtype=torch.float64)).dtype
    torch.float64
    """
    return x.to(torch.promote_types(x.dtype, torch.float32))


def zero_padding(x: Float[Tensor, "*shape"], mask: Bool[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Put 0 where ``mask`` is False, in float32 or better.

    >>> zero_padding(torch.tensor([1.0, float("nan")]), torch.tensor([True, False])).tolist()
    [1.0, 0.0]
    """
    return at_least_float32(x).masked_fill(~mask, 0.0)


def last_token(mask: Bool[Tensor, "batch response"]) -> Bool[Tensor, "batch response"]:
    """Mark the last real token of each row; the real tokens of a row are contiguous.

    >>> last_token(torch.tensor([[True, True, False], [False, False, False]])).int().tolist()
    [[0, 1, 0], [0, 0, 0]]
    """
    next_is_real = torch.nn.functional.pad(mask[:, 1:], (0, 1), value=False)
    return mask & ~next_is_real


def unpadded(ids: Int[Tensor, "batch sequence"], mask: Bool[Tensor, "batch sequence"]) -> list[list[int]]:
    """Return each row's tokens where the mask is True, as lists."""
    return [row[kept].tolist() for row, kept in zip(ids.cpu(), mask.cpu(), strict=True)]


@dataclass(frozen=True)
class Moments:
    """Count, mean and variance of a set of numbers."""

    count: Float[Tensor, ""]  # how many numbers
    mean: Float[Tensor, ""]  # 0 if there are none
    var: Float[Tensor, ""]  # population variance; 0 if there are none


def moments(
    x: Float[Tensor, "*shape"],
    mask: Bool[Tensor, "*shape"],
    *,
    all_reduce_sum: Callable[[Tensor], Tensor] = lambda total: total,
) -> Moments:
    """Measure the real elements of ``x``, over all ranks.

    >>> seen = moments(torch.tensor([1.0, 3.0, 9.0]), torch.tensor([True, True, False]))
    >>> seen.count.item(), seen.mean.item(), seen.var.item()
    (2.0, 2.0, 1.0)
    """
    count = all_reduce_sum(mask.sum().to(at_least_float32(x).dtype))
    mean = all_reduce_sum(zero_padding(x, mask).sum()) / count.clamp(min=1)
    squares = zero_padding((at_least_float32(x) - mean).square(), mask)
    return Moments(count, mean, all_reduce_sum(squares.sum()) / count.clamp(min=1))


def join(first: Moments, second: Moments) -> Moments:
    """Merge the moments of two sets (Chan, Golub and LeVeque 1979).

    >>> one = moments(torch.tensor([1.0, 3.0]), torch.tensor([True, True]))
    >>> two = moments(torch.tensor([5.0]), torch.tensor([True]))
    >>> both = join(one, two)
    >>> both.mean.item(), round(both.var.item(), 4)  # (4 + 0 + 4) / 3
    (3.0, 2.6667)
    """
    count = first.count + second.count
    share = second.count / count.clamp(min=1)
    gap = second.mean - first.mean
    within = first.var * (1 - share) + second.var * share
    return Moments(count, first.mean + gap * share, within + gap.square() * share * (1 - share))


def whiten(
    x: Float[Tensor, "*shape"], mask: Bool[Tensor, "*shape"], *, mean: Float[Tensor, ""], var: Float[Tensor, ""]
) -> Float[Tensor, "*shape"]:
    """Scale to variance 1 and move to mean 0.

    Args:
        x: Values to whiten.
        mask: True on real elements; the result is 0 elsewhere.
        mean: Mean of the real elements of the whole batch, on all ranks.
        var: Their variance.

    >>> x, mask = torch.tensor([1.0, 3.0, 7.0]), torch.tensor([True, True, False])
    >>> whiten(x, mask, mean=torch.tensor(2.0), var=torch.tensor(1.0)).tolist()
    [-1.0, 1.0, 0.0]
    """
    return zero_padding((at_least_float32(x) - mean) * torch.rsqrt(var + WHITEN_EPSILON), mask)


def count(mask: Bool[Tensor, "batch element"], *, reduction: Reduction) -> Float[Tensor, ""]:
    """Return the denominator of ``reduce_mean``: real elements ("token") or rows with any ("sequence").

    Add up the counts of all micro-batches and ranks to get ``total``.

    >>> mask = torch.tensor([[True, True], [True, False], [False, False]])
    >>> count(mask, reduction="token").item(), count(mask, reduction="sequence").item()
    (3.0, 2.0)
    """
    _check_reduction(reduction)
    per_row = mask.sum(dim=1)
    counted = per_row if reduction == "token" else per_row > 0
    return counted.sum().to(torch.float32)


def reduce_mean(
    terms: Float[Tensor, "batch element"],
    mask: Bool[Tensor, "batch element"],
    *,
    reduction: Reduction,
    total: Tensor | float | None = None,
) -> Float[Tensor, ""]:
    """Return this micro-batch's part of the mean loss over the full batch.

    With ``total`` counted over all micro-batches and ranks, the results add up to the mean of the
    whole batch, however it was cut: 8 x 1 = 1 x 8.

    Args:
        terms: One term per token or per macro action.
        mask: True on real elements.
        reduction: "token" weighs every element alike. "sequence" first takes the mean of each row, then of the rows
            that have any element: the released code's, which has one row per micro-batch (ernie-research/MA-RLHF,
            ``ppo_trainer.py``, ``actor_loss_fn`` and ``critic_loss_fn``).
        total: The sum of ``count(mask, reduction=reduction)`` over the whole batch; None: this batch is all. It need
            not be a whole number (divide it by the number of ranks where gradients are averaged).

    Returns:
        The sum of the terms (of the row means) over ``total``; 0 if there is nothing to count.

    Raises:
        ValueError: If ``reduction`` is unknown.

    >>> terms = torch.tensor([[1.0, 3.0], [8.0, 99.0]])
    >>> mask = torch.tensor([[True, True], [True, False]])
    >>> [reduce_mean(terms, mask, reduction=r).item() for r in ("token", "sequence")]
    [4.0, 5.0]
    """
    _check_reduction(reduction)
    if total is None:
        total = count(mask, reduction=reduction)
    row_sums = zero_padding(terms, mask).sum(dim=1)
    if reduction == "sequence":
        row_sums = row_sums / mask.sum(dim=1).clamp(min=1)
    # 1 in the place of 0: the sum above it is 0 as well
    nonzero = total.masked_fill(total == 0, 1) if isinstance(total, Tensor) else total or 1.0
    return row_sums.sum() / nonzero


def _check_reduction(reduction: str) -> None:
    if reduction not in ("token", "sequence"):
        raise ValueError(f'reduction: expected "token" or "sequence", got {reduction!r}')
