"""Running count, mean and variance, and their merge (Chan et al.).

For whitening over all micro-batches and ranks, and for scores scaled by their running standard
deviation. Who gathers the moments of the ranks, or keeps those of the last rollouts, does so
outside.
"""

from dataclasses import dataclass

from jaxtyping import Bool, Float
from torch import Tensor

from lightning_marlhf.ops.masking import at_least_float32, masked_mean, masked_var


@dataclass(frozen=True)
class Moments:
    """Count, mean and variance of a set of numbers."""

    count: Float[Tensor, ""]  # how many numbers
    mean: Float[Tensor, ""]  # 0 if there are none
    var: Float[Tensor, ""]  # population variance; 0 if there are none


def moments(x: Float[Tensor, "*shape"], mask: Bool[Tensor, "*shape"]) -> Moments:
    """Measure the real elements of ``x``.

    >>> import torch
    >>> seen = moments(torch.tensor([1.0, 3.0, 9.0]), torch.tensor([True, True, False]))
    >>> seen.count.item(), seen.mean.item(), seen.var.item()
    (2.0, 2.0, 1.0)
    """
    count = mask.sum().to(at_least_float32(x).dtype)
    return Moments(count, masked_mean(x, mask), masked_var(x, mask))


def join(first: Moments, second: Moments) -> Moments:
    """Get the moments of two sets together (Chan, Golub and LeVeque 1979).

    >>> import torch
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
