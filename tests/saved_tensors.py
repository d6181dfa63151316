"""Counts what a graph keeps for its backward pass."""

from collections.abc import Iterable
from typing import Self

import torch
from torch import Tensor


class SavedTensors:
    """Inside this context, forward passes are watched: ``bytes`` is what they keep, each storage once.

    Args:
        besides: tensors that are there anyway, such as weights.
    """

    def __init__(self, besides: Iterable[Tensor] = ()) -> None:
        self._there = {x.untyped_storage().data_ptr() for x in besides}
        self._kept: dict[int, torch.UntypedStorage] = {}
        self._hooks = torch.autograd.graph.saved_tensors_hooks(self._keep, lambda x: x)

    @property
    def bytes(self) -> int:
        return sum(storage.nbytes() for storage in self._kept.values())

    def __enter__(self) -> Self:
        self._hooks.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._hooks.__exit__(*error)

    def _keep(self, x: Tensor) -> Tensor:
        storage = x.untyped_storage()
        if storage.data_ptr() not in self._there:
            self._kept[storage.data_ptr()] = storage
        return x
