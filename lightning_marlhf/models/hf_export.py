"""Export to Hugging Face folders, from which the next stage starts."""

import contextlib
import os
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from lightning_marlhf.hub.sources import quietly
from lightning_marlhf.models.fsdp import is_sharded
from lightning_marlhf.models.lora import LoRA, merge, write_adapter
from lightning_marlhf.models.model_card import model_card
from lightning_marlhf.models.streaming import Weights, weights_of, write_weights

_MODES = ("do_sample", "num_beams", "return_dict_in_generate", "use_cache")  # decide what else may be set


def export(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    folder: str | Path,
    *,
    card: Mapping[str, Any],
    weights: Weights | None = None,
    lora: LoRA | None = None,
    base: str = "",
) -> None:
    """Write a folder that ``AutoModelFor...`` and ``AutoTokenizer`` load, with a model card.

    The folder appears complete or not at all: it is written to a temporary folder and renamed; an older one
    is replaced. Collective: every rank must call it; rank 0 writes.

    Args:
        model: a causal language model or a sequence classifier; sharded or full.
        tokenizer: the model's.
        folder: output folder; parents are created.
        card: Content of README.md (see ``model_card``).
        weights: source of the weights, if not the model; they are read once more to check what was written.
        lora: Settings of an adapted model, whose adapters are merged.
        base: Folder or Hub id of the adapted model.
    """
    adapted = None
    if weights is None and (is_sharded(model) or lora is not None):
        weights = weights_of(model)
    if weights is not None and lora is not None:
        adapted, weights = (weights if lora.keep_adapter else None), merge(weights, model)
    folder = Path(folder)
    if torch.distributed.is_initialized() and torch.distributed.get_rank() > 0:
        if weights is not None:
            write_weights(weights, None)
        if adapted is not None and lora is not None:
            write_adapter(adapted, model, lora, None, base=base)
        return
    if model.can_generate():
        model.generation_config = valid_settings(model.generation_config)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as scratch:
        new = Path(scratch) / "new"
        with quietly():
            if weights is None:
                model.save_pretrained(new)
            else:
                _write_settings(model, new)
                write_weights(weights, new)
            if adapted is not None and lora is not None:
                write_adapter(adapted, model, lora, new / "adapter", base=base)
        tokenizer.save_pretrained(new)
        (new / "README.md").write_text(model_card(model, card), encoding="utf-8")
        if os.path.lexists(folder):
            folder.rename(Path(scratch) / "old")
        new.rename(folder)


def valid_settings(config: GenerationConfig) -> GenerationConfig:
    """Drop the invalid settings of a base model's generation_config, with a warning.

    Published models have settings that loading accepts and saving refuses once one of them was changed, such as a
    temperature without sampling.
    """
    with tempfile.TemporaryDirectory() as scratch, contextlib.suppress(ValueError), quietly():
        config.save_pretrained(scratch)
        return config
    settings = config.to_diff_dict()
    kept: dict[str, Any] = {}
    dropped = []
    for name in sorted(settings, key=lambda name: (name not in _MODES, name)):
        try:
            with quietly():
                type(config)(**kept, **{name: settings[name]}).validate(strict=True)
        except (ValueError, TypeError):
            dropped.append(f"{name} {settings[name]}")
        else:
            kept[name] = settings[name]
    warnings.warn(
        f"not exported, as the base model's generation_config.json may not combine it with the rest: "
        f"{', '.join(dropped)}",
        stacklevel=2,
    )
    return type(config)(**kept)


def _write_settings(model: PreTrainedModel, folder: Path) -> None:
    """Write the files of ``save_pretrained`` other than weights."""
    model.config.dtype = str(model.dtype).removeprefix("torch.")
    model.config.architectures = [type(model).__name__]
    model.config.save_pretrained(folder)
    if model.can_generate():
        model.generation_config.save_pretrained(folder)
