"""Model configurations: given inline, checked, and with dropout off."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from transformers import AutoConfig, PreTrainedConfig
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from lightning_marlhf.hub.sources import SourceError, reading

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16, "float64": torch.float64}


@dataclass(frozen=True)
class ModelConfig:
    """A model to be initialised at random: tests, and tasks that the package generates itself."""

    config: dict[str, Any]
    # ^ keys of the Hugging Face configuration, "model_type" among them; vocabulary size and
    #   special tokens come from the tokenizer
    seed: int | None = None  # seed of the random initialisation; null: the run's


ModelSource = str | ModelConfig
"""A folder, a Hub id, or an inline configuration."""


def seeded(source: ModelSource, seed: int) -> ModelSource:
    """Set the run's seed on an inline configuration without one."""
    if isinstance(source, ModelConfig) and source.seed is None:
        return replace(source, seed=seed)
    return source


def build_config(
    settings: Mapping[str, Any], *, vocab_size: int | None = None, pad_token_id: int | None = None, **extra: Any
) -> PreTrainedConfig:
    """Build a Hugging Face configuration; refuse misspelt keys, which transformers ignores.

    Args:
        settings: keys of the configuration, ``model_type`` among them.
        vocab_size: Vocabulary size of the text part; None: that of the settings.
        pad_token_id: replaces the family's, if it has one: the embeddings do not learn at its row.
        extra: more keys.

    Raises:
        SourceError: the family or a key is unknown, or the family refuses a value.
    """
    model_type = settings.get("model_type")
    if model_type not in CONFIG_MAPPING:
        raise SourceError(f"model_type {model_type!r} is unknown: expected one that transformers has, such as 'gemma'.")
    with reading(f"config of model_type {model_type!r}"):
        _refuse_unknown_keys(settings, CONFIG_MAPPING[model_type]())
        config = AutoConfig.for_model(**{**settings, **extra})
        text = config.get_text_config()
    if vocab_size is not None:
        text.vocab_size = vocab_size
        _drop_out_of_range_ids(text, vocab_size, pad_token_id)
    return without_dropout(config)


def _refuse_unknown_keys(settings: Mapping[str, Any], defaults: PreTrainedConfig) -> None:
    known = {*defaults.to_dict(), *defaults.attribute_map}
    for key, value in settings.items():
        if key not in known:
            nearest = difflib.get_close_matches(key, known, n=1)
            hint = f": did you mean {nearest[0]!r}?" if nearest else "."
            raise SourceError(f"{key!r} is no setting of a {defaults.model_type!r} configuration{hint}")
        if key in defaults.sub_configs and isinstance(value, Mapping):
            _refuse_unknown_keys(value, getattr(defaults, key))


def _drop_out_of_range_ids(config: PreTrainedConfig, vocab_size: int, pad_token_id: int | None) -> None:
    """Replace a family's special tokens that lie beyond a smaller vocabulary: embeddings index them."""
    if getattr(config, "pad_token_id", None) is not None:
        config.pad_token_id = pad_token_id
    for name in ("pad_token_id", "bos_token_id", "eos_token_id"):
        ids = getattr(config, name, None)
        if any(index >= vocab_size for index in (ids if isinstance(ids, list) else [ids or 0])):
            setattr(config, name, None)


def parts_of(config: PreTrainedConfig) -> list[PreTrainedConfig]:
    """List a configuration and those in it: its text part, its vision part."""
    inner = (getattr(config, name, None) for name in config.sub_configs)
    return [config, *(part for sub in inner if sub is not None for part in parts_of(sub))]


def without_dropout(config: PreTrainedConfig) -> PreTrainedConfig:
    """Set all dropout rates and router jitter to 0, by whatever names the family has for them."""
    for part in parts_of(config):
        for name, value in part.to_dict().items():
            noise = any(word in name for word in ("dropout", "pdrop", "layerdrop", "jitter"))
            if noise and isinstance(value, int | float) and value:
                setattr(part, name, 0.0)
    return config


def torch_dtype(name: str) -> torch.dtype:
    """Look up a dtype by its name in torch."""
    if name not in _DTYPES:
        raise ValueError(f"dtype: expected one of {', '.join(_DTYPES)}, got {name!r}")
    return _DTYPES[name]
