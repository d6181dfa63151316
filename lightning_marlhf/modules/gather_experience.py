"""All-gathers the rollout, so that minibatches are the same for any number of processes."""

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from lightning_marlhf.types import Experience, Prompts, TensorBatch

_PADDING = {"index": -1}  # of macro actions; everything else is padded with 0


def all_gather_rows(experience: Experience, ranks: int) -> Experience:
    """Collect the full rollout, sharded over ``ranks`` processes: tensors only, without texts.

    It is small compared with any model, and a minibatch is a random part of it: all ranks together take the rows that
    one process would take.
    """
    if ranks == 1:
        return experience
    device = experience.scores.device
    parts: list[Any] = [None] * ranks
    torch.distributed.all_gather_object(parts, _without_texts(experience).to("cpu"))
    gathered: Experience = interleave(parts).to(device)
    return gathered


def _without_texts(experience: Experience) -> Experience:
    size, prompts = len(experience), experience.rollout.prompts
    nothing = (None,) * size
    prompts = replace(prompts, texts=("",) * size, references=nothing, messages=nothing)
    rollout = replace(experience.rollout, prompts=prompts, texts=("",) * size)
    return replace(experience, rollout=rollout, details=({},) * size)


def interleave(values: Sequence[Any], *, name: str = "", left: bool = False) -> Any:
    """Join the shards of all ranks in the order of one process: the data dealt its rows to them in turn."""
    first = values[0]
    if isinstance(first, TensorBatch):
        joined = {
            field.name: interleave(
                [getattr(value, field.name) for value in values], name=field.name, left=isinstance(first, Prompts)
            )
            for field in fields(first)  # type: ignore[arg-type]
        }
        return replace(first, **joined)  # type: ignore[type-var]
    if isinstance(first, Tensor):
        padded = _to_one_width(values, value=_PADDING.get(name, 0), left=left)
        return torch.stack(padded, dim=1).flatten(0, 1)
    if isinstance(first, tuple):
        return tuple(row for rows in zip(*values, strict=True) for row in rows)
    return first if first is None else max(values)  # the width of macro actions


def _to_one_width(tensors: Sequence[Tensor], *, value: int, left: bool) -> list[Tensor]:
    if tensors[0].ndim == 1:
        return list(tensors)
    width = max(tensor.shape[1] for tensor in tensors)
    missing = (width - tensor.shape[1] for tensor in tensors)
    return [
        functional.pad(tensor, (less, 0) if left else (0, less), value=value)
        for tensor, less in zip(tensors, missing, strict=True)
    ]
