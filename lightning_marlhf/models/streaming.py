"""Streams weights into safetensors files in chunks, so that no process holds the full model."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import PreTrainedModel

from lightning_marlhf.models.fsdp import full_tensor
from lightning_marlhf.models.sharded_checkpoint import ShardedWeights
from lightning_marlhf.models.weight_files import WeightFiles, download

FILE_BYTES = 4_000_000_000


@dataclass(frozen=True)
class Weights:
    """Weights that are read when they are needed.

    Attributes:
        sizes: bytes of each, by name.
        read: returns some of them as full CPU tensors; collective in a sharded run.
        verify: read them once more and compare them with what was written.
    """

    sizes: Mapping[str, int]
    read: Callable[[Sequence[str]], Mapping[str, Tensor]]
    verify: bool = False


def weights_of(model: PreTrainedModel) -> Weights:
    """Return the weights of a sharded model, gathered one by one; tied ones once."""
    tensors = named_tensors(model)
    return Weights(
        sizes={name: x.numel() * x.element_size() for name, x in tensors.items()},
        read=lambda names: {name: full_tensor(tensors[name]).cpu() for name in names},
    )


def weights_in(checkpoint: ShardedWeights, model: PreTrainedModel, *, prefix: str, base: str | None = None) -> Weights:
    """Return the weights of a model that are in a sharded checkpoint.

    Args:
        checkpoint: Sharded checkpoint.
        model: has their shapes; may be on the meta device.
        prefix: Prefix of their names in the checkpoint.
        base: folder or Hub id of the frozen weights, which are not in the checkpoint.

    Raises:
        ValueError: the checkpoint lacks some of them.
    """
    tensors = named_tensors(model)
    lost = [name for name in tensors if prefix + name not in checkpoint]
    frozen = None if base is None else WeightFiles(download(base))
    if lost and frozen is None:
        raise ValueError(f"{checkpoint.folder} is not of this config: it has no weight {prefix}{lost[0]}")

    def read(names: Sequence[str]) -> dict[str, Tensor]:
        trained = [prefix + name for name in names if name not in lost]
        found = {n.removeprefix(prefix): x for n, x in checkpoint.read(trained).items()}
        if frozen is not None:
            with frozen:
                others = {name: frozen.read_named(name, model) for name in names if name in lost}
        return {name: found[name] if name in found else others[name] for name in names}

    sizes = {name: x.numel() * x.element_size() for name, x in tensors.items()}
    return Weights(sizes=sizes, read=read, verify=True)


def named_tensors(model: PreTrainedModel) -> dict[str, Tensor]:
    """Name the tensors that a model's files hold; tied ones once, by their first name."""
    names: dict[int, str] = {}
    tensors = model.state_dict(keep_vars=True)
    for name, tensor in tensors.items():
        names.setdefault(id(tensor), name)
    return {name: tensors[name] for name in names.values()}


def write_weights(weights: Weights, folder: Path | None) -> None:
    """Write `model.safetensors`, or several files with an index.

    Args:
        weights: what to write.
        folder: output folder; None only participates in the collectives.

    Raises:
        OSError: the written file differs from the weights.
    """
    groups = list(_groups(weights.sizes))
    names = [f"model-{at + 1:05d}-of-{len(groups):05d}.safetensors" for at in range(len(groups))]
    if len(groups) == 1:
        names = ["model.safetensors"]
    for group, name in zip(groups, names, strict=True):
        tensors = weights.read(group)
        if folder is not None:
            save_file({key: x.contiguous() for key, x in tensors.items()}, folder / name, metadata={"format": "pt"})
        del tensors
        if folder is not None and weights.verify:
            _compare(folder / name, weights.read(group))
    if folder is not None and len(groups) > 1:
        index = {key: name for group, name in zip(groups, names, strict=True) for key in group}
        total = {"total_size": sum(weights.sizes.values())}
        text = json.dumps({"metadata": total, "weight_map": index}, indent=2)
        (folder / "model.safetensors.index.json").write_text(text, encoding="utf-8")


def _groups(sizes: Mapping[str, int]) -> Iterator[list[str]]:
    """Cut the names into groups of at most `FILE_BYTES`; a larger weight has one to itself."""
    group: list[str] = []
    for name, size in sizes.items():
        if group and sum(sizes[other] for other in group) + size > FILE_BYTES:
            yield group
            group = []
        group.append(name)
    if group:
        yield group


def _compare(path: Path, expected: Mapping[str, Tensor]) -> None:
    written = load_file(path)
    wrong = [name for name, x in expected.items() if not torch.equal(written[name], x)]
    if wrong or written.keys() != expected.keys():
        raise OSError(f"{path} does not hold what was written ({', '.join(wrong[:3])}): check the disk")
