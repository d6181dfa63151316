"""Model configurations: given inline, checked, and with dropout off."""

import difflib
from dataclasses import dataclass, replace
from typing import Any

import torch
from transformers import AutoConfig, PreTrainedConfig
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from lightning_marlhf.hub.sources import SourceError

_DTYPES = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "float64": torch.float64,
}


@dataclass(frozen=True)
class ModelConfig:
    """A model to be initialised at random: tests, and tasks that the package generates itself."""

    config: dict[str, Any]
    # ^ keys of the Hugging Face configuration, "model_type" among them; vocabulary size and
    #   special tokens come from the tokenizer
    seed: int | None = None  # of the random initialisation; null takes the run's


ModelSource = str | ModelConfig
"""A folder, a Hub id, or an inline configuration."""


def seeded(source: ModelSource, seed: int) -> ModelSource:
    """Give an inline configuration without a seed of its own the run's."""
    if isinstance(source, ModelConfig) and source.seed is None:
        return replace(source, seed=seed)
    return source


def build_config(settings: dict[str, Any], **extra: Any) -> PreTrainedConfig:
    """Build a Hugging Face configuration; refuse misspelt keys, which transformers ignores."""
    model_type = settings.get("model_type")
    if model_type not in CONFIG_MAPPING:
        raise SourceError(
            f"model_type {model_type!r} is unknown: "
            "expected one that transformers has, such as 'gemma'."
        )
    defaults = CONFIG_MAPPING[model_type]()
    known = {*defaults.to_dict(), *defaults.attribute_map}
    for key in settings:
        if key not in known:
            nearest = difflib.get_close_matches(key, known, n=1)
            hint = f": did you mean {nearest[0]!r}?" if nearest else "."
            raise SourceError(f"{key!r} is no setting of a {model_type!r} configuration{hint}")
    config = AutoConfig.for_model(**{**settings, **extra})
    return without_dropout(config)


def without_dropout(config: PreTrainedConfig) -> PreTrainedConfig:
    """Set every dropout rate to 0: Gemma's attention_dropout, GPT-2's resid_pdrop and so on."""
    for name, value in config.to_dict().items():
        if (
            ("dropout" in name or name.endswith("pdrop"))
            and isinstance(value, int | float)
            and value
        ):
            setattr(config, name, 0.0)
    return config


def torch_dtype(name: str) -> torch.dtype:
    """Look up a dtype by its name in torch."""
    if name not in _DTYPES:
        raise ValueError(f"dtype: expected one of {', '.join(_DTYPES)}, got {name!r}")
    return _DTYPES[name]
