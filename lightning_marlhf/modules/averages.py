"""Means of many tokens, collected over micro-batches and ranks, read once."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor


class WeightedMeans:
    """Running sums and counts by name; the devices are synchronised only when the means are read."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._marked: dict[str, Tensor] = {}

    @property
    def names(self) -> list[str]:
        """What was counted."""
        return list(self._sums)

    def mark(self) -> None:
        """Remember this state, for `rollback`."""
        self._marked = dict(self._sums)

    def rollback(self) -> None:
        """Forget what was added since the last `mark`."""
        self._sums = dict(self._marked)

    def add(self, name: str, values: Tensor, mask: Tensor | None = None) -> None:
        """Count ``values`` where ``mask`` is True (everywhere without one)."""
        values = values.detach().float()
        if mask is None:
            mask = torch.ones_like(values, dtype=torch.bool)
        pair = torch.stack([values.masked_fill(~mask, 0.0).sum(), mask.sum().float()])
        self._sums[name] = self._sums[name] + pair if name in self._sums else pair

    def expect(self, names: Iterable[str]) -> None:
        """Give ``names`` a place, and all names one order, so that ranks which counted different things add up."""
        nothing = torch.zeros_like(next(iter(self._sums.values()), torch.zeros(2)))
        every = sorted({*self._sums, *names})
        self._sums = {name: self._sums.get(name, nothing) for name in every}

    def compute(self, all_reduce_sum: Callable[[Tensor], Tensor]) -> dict[str, float]:
        """Give the mean of each name over all ranks; names without any value are left out."""
        if not self._sums:
            return {}
        names = list(self._sums)
        totals = all_reduce_sum(torch.stack([self._sums[name] for name in names])).tolist()
        return {
            name: total / count for name, (total, count) in zip(names, totals, strict=True) if count
        }
