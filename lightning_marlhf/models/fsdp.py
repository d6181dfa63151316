"""FSDP2 sharding (torch's fully_shard), one unit per transformer block.

Each process keeps its shard of every weight, in the weights' dtype; a block is all-gathered, in the compute dtype,
before its forward and resharded after it. Weights come from their files row by row: no process ever holds a full model.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import (
    CPUOffloadPolicy,
    FSDPModule,
    MixedPrecisionPolicy,
    OffloadPolicy,
    fully_shard,
    register_fsdp_forward_method,
)
from torch.distributed.tensor import DTensor
from transformers import PreTrainedModel

Gathering = Literal["rollout", "block"]


@dataclass(frozen=True)
class Sharding:
    """How networks are sharded.

    Attributes:
        mesh: the processes, in one dimension.
        compute_dtype: Dtype of gathered weights and activations; None: dtype of the weights.
        offload_frozen: keep the shards of networks that do not learn in the memory of the host.
        gathering: for generation, the policy is gathered once per "rollout", or "block" by block for every token.
    """

    mesh: DeviceMesh
    compute_dtype: torch.dtype | None = None
    offload_frozen: bool = False
    gathering: Gathering = "rollout"


def shard(network: nn.Module, sharding: Sharding, *, learns: bool) -> None:
    """Shard a network in place: each block by itself, and the rest (embeddings, last norm, head) with the root.

    Args:
        network: has a Hugging Face model in it; may be on the meta device.
        sharding: over whom, and how.
        learns: False for a network without gradients, which may be offloaded.
    """
    offload = sharding.offload_frozen and not learns
    options = {
        "mesh": sharding.mesh,
        "reshard_after_forward": True,  # of the root, too: a forward pass without gradients would leave it gathered
        "mp_policy": MixedPrecisionPolicy(param_dtype=sharding.compute_dtype, reduce_dtype=torch.float32),
        "offload_policy": CPUOffloadPolicy(pin_memory=torch.cuda.is_available()) if offload else OffloadPolicy(),
    }
    for block in blocks(network):
        fully_shard(block, **options)
    fully_shard(network, **options)
    for method in getattr(network, "fsdp_entry_points", ()):
        register_fsdp_forward_method(network, method)


def blocks(network: nn.Module) -> list[nn.Module]:
    """Find the transformer blocks of a network, sharded or not.

    Raises:
        ValueError: its family does not say what its blocks are.
    """
    model = language_model(network)
    names = set(model._no_split_modules or ())
    found = [part for part in model.modules() if type(part).__name__.removeprefix("FSDP") in names]
    if not found:
        raise ValueError(f"{type(model).__name__} has no `_no_split_modules`, so it cannot be sharded")
    return found


def language_model(network: nn.Module) -> PreTrainedModel:
    """Find the Hugging Face model in a network."""
    return next(part for part in network.modules() if isinstance(part, PreTrainedModel))


def is_sharded(network: nn.Module) -> bool:
    """Return whether a network is sharded."""
    return any(isinstance(part, FSDPModule) for part in network.modules())


@contextmanager
def gathered(policy: nn.Module) -> Iterator[bool]:
    """Unshard a policy for many forward passes, and reshard it at the end of the ``with`` block.

    A gathered one stays as it is, and so does one whose ``gathering`` is "block".

    Yields:
        Whether every rank must make the same number of forward passes.
    """
    units = [part for part in policy.modules() if isinstance(part, FSDPModule)]
    if not units or policy.gathering == "block":
        yield bool(units)
        return
    for unit in units:
        unit.set_reshard_after_forward(False, recurse=False)
        unit.unshard()
    try:
        yield False
    finally:
        for unit in units:
            unit.set_reshard_after_forward(True, recurse=False)
            unit.reshard()


def materialize(network: nn.Module, *, weights_on: torch.device, buffers_on: torch.device) -> None:
    """Materialise a sharded network from the meta device: empty weights, initialised buffers."""
    network.to_empty(device=weights_on)
    for part in network.modules():
        for name, buffer in part.named_buffers(recurse=False):
            setattr(part, name, torch.empty_like(buffer, device=buffers_on))
    model = language_model(network)
    model.tie_weights()
    for part in model.modules():
        if part._non_persistent_buffers_set:
            model._init_weights(part)


def local_rows(tensor: Tensor) -> tuple[Tensor, slice]:
    """Return this rank's shard of a tensor and its row slice; the full tensor if it is not sharded."""
    tensor = tensor.detach()
    if not isinstance(tensor, DTensor):
        return tensor, slice(None)
    ranks, rank = tensor.device_mesh.size(), tensor.device_mesh.get_local_rank()
    size = -(-tensor.shape[0] // ranks)  # as torch.chunk cuts
    return tensor.to_local(), slice(size * rank, size * (rank + 1))


def assign(tensor: Tensor, rows: Callable[[slice], Tensor]) -> None:
    """Fill this process's part of a tensor with ``rows`` of the full one."""
    mine, which = local_rows(tensor)
    if mine.numel():
        mine.copy_(rows(which))


def full_tensor(tensor: Tensor) -> Tensor:
    """Return the full tensor of a DTensor. Collective."""
    tensor = tensor.detach()
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
