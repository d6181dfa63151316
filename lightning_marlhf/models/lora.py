"""Low-rank adapters (LoRA, arXiv 2106.09685), by peft: a low-rank update of each frozen matrix."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from lightning_marlhf.models import fsdp
from lightning_marlhf.models.policy import Policy
from lightning_marlhf.models.streaming import Weights
from lightning_marlhf.ranges import Positive, PositiveInt, checked

if TYPE_CHECKING:
    from peft import LoraConfig
    from peft.tuners.lora import LoraLayer

_NAME = "default"  # peft's, of the one adapter


@checked
@dataclass(frozen=True)
class LoRA:
    """How a network is adapted.

    Attributes:
        r: Rank of the updates.
        alpha: Scale of the updates, which are multiplied by alpha / r.
        target_modules: Ends of the names of the layers that are adapted, such as q_proj; "all-linear" is all but the
            head. The head of a classifier is not adapted: it is trained in full.
        keep_adapter: Export the adapter alone, too, in peft's format, to `adapter/`.
    """

    r: PositiveInt = 16
    alpha: Positive = 32.0
    target_modules: str | list[str] = "all-linear"
    keep_adapter: bool = False

    def config(self, model: PreTrainedModel) -> "LoraConfig":
        """Return peft's settings for a model, adapted or not.

        Raises:
            ValueError: peft is not installed, or the model has no layer of such a name.
        """
        try:
            from peft import LoraConfig
        except ImportError:
            raise ValueError("lora needs peft, which is not installed: pip install 'lightning_marlhf[peft]'") from None
        head = list(head_parts(model))
        return LoraConfig(
            r=self.r,
            lora_alpha=self.alpha,
            target_modules=self._targets(model),
            fan_in_fan_out=any(isinstance(part, Conv1D) for part in model.modules()),
            modules_to_save=head or None,
            task_type="SEQ_CLS" if head else "CAUSAL_LM",
        )

    def _targets(self, model: PreTrainedModel) -> str | list[str]:
        """Return the suffixes as a list; peft treats a single string as a regular expression."""
        if self.target_modules == "all-linear":
            return "all-linear"
        given = self.target_modules
        ends = [given] if isinstance(given, str) else list(given)
        linear = _linear_layers(model)
        lost = [end for end in ends if not any(name.endswith(f".{end}") for name in linear)]
        if lost or not ends:
            there = ", ".join(sorted({name.rpartition(".")[2] for name in linear}))
            raise ValueError(
                f"lora.target_modules: {type(model).__name__} has no linear layer whose name ends with "
                f'{", ".join(lost) or "nothing"}: expected "all-linear", or some of {there}'
            )
        return ends


def head_parts(model: PreTrainedModel) -> dict[str, nn.Module]:
    """Return the head modules of a classifier by name; empty for a language model."""
    if model.get_output_embeddings() is not None:
        return {}
    return {
        name: part for name, part in model.named_children() if part is not model.base_model and list(part.parameters())
    }


def _linear_layers(model: PreTrainedModel) -> list[str]:
    """Name the linear layers of a model's body, adapted or not, each with a dot before its name."""
    body = next(name for name, part in model.named_modules() if part is model.base_model)
    return [
        f".{name.removesuffix('.base_layer')}"
        for name, part in model.named_modules()
        if name.startswith(body) and isinstance(part, nn.Linear | Conv1D) and not is_adapter(name)
    ]


def adapt(model: PreTrainedModel, lora: LoRA) -> None:
    """Freeze a model and put adapters into it, in place; they have no values yet (see `draw_adapters`).

    The head of a classifier is trained in full, without an adapter.

    Raises:
        ValueError: the model has no such layers.
    """
    config = lora.config(model)
    from peft import inject_adapter_in_model

    if config.modules_to_save:  # peft would train a copy
        config.exclude_modules = rf"({'|'.join(config.modules_to_save)})(\..*)?"
        config.modules_to_save = None
    inject_adapter_in_model(config, model)
    for part in head_parts(model).values():
        part.requires_grad_(True)


def draw_adapters(model: nn.Module, *, seed: int) -> None:
    """Draw the adapters' values, the same for any number of processes: the update of a fresh adapter is 0."""
    generator = torch.Generator().manual_seed(seed)
    for _, layer in adapters(model):
        down, up = layer.lora_A[_NAME].weight, layer.lora_B[_NAME].weight
        drawn = torch.rand(down.shape, generator=generator) * 2 - 1
        fsdp.assign(down, lambda rows, x=drawn / down.shape[1] ** 0.5: x[rows])
        fsdp.assign(up, lambda _: torch.zeros(()))


def adapters(model: nn.Module) -> Iterator[tuple[str, "LoraLayer"]]:
    """Find the adapted layers of a model by name."""
    named = ((name, part) for name, part in model.named_modules() if hasattr(part, "base_layer"))
    return ((name, part) for name, part in named if hasattr(part, "lora_A"))


def is_adapter(name: str) -> bool:
    """Return whether a parameter name is an adapter's."""
    return ".lora_" in name


class WithoutAdapter:
    """The policy with its adapter disabled: the initial policy, without a second copy of the weights.

    Args:
        policy: with adapters.
    """

    def __init__(self, policy: Policy) -> None:
        self.policy = policy

    @torch.no_grad()
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Do what the policy's ``forward`` does."""
        from peft.helpers import rescale_adapter_scale

        with rescale_adapter_scale(self.policy, 0.0):
            return self.policy(*args, **kwargs)


def merge(weights: Weights, model: PreTrainedModel) -> Weights:
    """Return the weights with the adapters merged.

    Args:
        weights: Weights of the adapted model, with its adapters.
        model: the adapted model; may be on the meta device.
    """
    layers = {f"{name}.weight": layer for name, layer in adapters(model)}
    names = {name.replace(".base_layer.", "."): name for name in weights.sizes if not is_adapter(name)}

    def read(wanted: Sequence[str]) -> dict[str, Tensor]:
        return {name: read_one(name) for name in wanted}

    def read_one(name: str) -> Tensor:
        if name not in layers:
            return weights.read([names[name]])[names[name]]
        stem = name.removesuffix(".weight")
        pair = [f"{stem}.lora_{part}.{_NAME}.weight" for part in "AB"]
        base, down, up = weights.read([names[name], *pair]).values()
        update = layers[name].scaling[_NAME] * (up.double() @ down.double())
        if layers[name].fan_in_fan_out:
            update = update.T
        return (base.double() + update).to(base.dtype)

    return Weights({new: weights.sizes[old] for new, old in names.items()}, read, weights.verify)


def write_adapter(weights: Weights, model: PreTrainedModel, lora: LoRA, folder: Path | None, *, base: str) -> None:
    """Write the adapter alone, in peft's format; with that of a classifier goes the head.

    Args:
        weights: Weights of the adapted model, with its adapters.
        model: the adapted model; may be on the meta device.
        lora: how it was adapted.
        folder: output folder; None only participates in the collectives.
        base: Folder or Hub id of the adapted model.
    """
    head = tuple(f"{part}." for part in head_parts(model))
    names = [name for name in weights.sizes if is_adapter(name) or name.startswith(head)]
    found: Mapping[str, Tensor] = weights.read(names)
    if folder is None:
        return
    config = lora.config(model)
    config.base_model_name_or_path = base
    config.inference_mode = True
    config.save_pretrained(str(folder))
    named = {f"base_model.model.{name.replace(f'.{_NAME}.', '.')}": x for name, x in found.items()}
    tensors = {name: x.contiguous() for name, x in named.items()}
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
