"""Model configurations without weights; those of the published systems are built in, so planning needs no download.

Source of the table: config.json of each model on the Hub; what is not listed is transformers' default for the family.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    PreTrainedConfig,
    PreTrainedModel,
)

from lightning_marlhf.hub.sources import locate, reading
from lightning_marlhf.models.configs import ModelConfig, ModelSource, build_config, without_dropout

_GEMMA_2B: Mapping[str, Any] = {
    "model_type": "gemma",
    "vocab_size": 256_000,
    "hidden_size": 2048,
    "intermediate_size": 16_384,
    "num_hidden_layers": 18,
    "num_attention_heads": 8,
    "num_key_value_heads": 1,
    "head_dim": 256,
    "max_position_embeddings": 8192,
}
_GEMMA_7B: Mapping[str, Any] = {
    "model_type": "gemma",
    "vocab_size": 256_000,
    "hidden_size": 3072,
    "intermediate_size": 24_576,
    "num_hidden_layers": 28,
    "num_attention_heads": 16,
    "num_key_value_heads": 16,
    "head_dim": 256,
    "max_position_embeddings": 8192,
}
_GEMMA_2_27B: Mapping[str, Any] = {
    "model_type": "gemma2",
    "vocab_size": 256_000,
    "hidden_size": 4608,
    "intermediate_size": 36_864,
    "num_hidden_layers": 46,
    "num_attention_heads": 32,
    "num_key_value_heads": 16,
    "head_dim": 128,
    "max_position_embeddings": 8192,
    "query_pre_attn_scalar": 144,
    "sliding_window": 4096,
    "attn_logit_softcapping": 50.0,
    "final_logit_softcapping": 30.0,
}
PUBLISHED: Mapping[str, Mapping[str, Any]] = {
    "google/gemma-2b": _GEMMA_2B,
    "google/gemma-7b": _GEMMA_7B,
    "google/gemma-2-27b": _GEMMA_2_27B,
    "google/codegemma-2b": _GEMMA_2B,
    "google/codegemma-7b-it": _GEMMA_7B,
}
"""Hub id -> settings of its Hugging Face configuration."""


def architecture_of(source: ModelSource, *, vocab_size: int | None = None) -> PreTrainedConfig:
    """Find the configuration of a model: the given one, a folder's, the table's, or the Hub's.

    Args:
        source: an inline configuration, a folder, or a Hub id.
        vocab_size: of an inline configuration, whose vocabulary is its tokenizer's.

    Raises:
        SourceError: it was found nowhere.
    """
    if isinstance(source, ModelConfig):
        vocabulary = {} if vocab_size is None else {"vocab_size": vocab_size}
        return build_config(source.config, **vocabulary)
    if source in PUBLISHED and not Path(source).is_dir():
        return build_config(dict(PUBLISHED[source]))
    with reading(source):
        return without_dropout(AutoConfig.from_pretrained(locate(source), trust_remote_code=False))


def build_on_meta(source: ModelSource, *, classifier: bool, vocab_size: int | None = None) -> PreTrainedModel:
    """Build a model of the real size that takes no memory: its weights have shapes and no values.

    Args:
        source: an inline configuration, a folder, or a Hub id.
        classifier: True for a sequence classifier with one label, False for a causal language model.
        vocab_size: of an inline configuration.

    Raises:
        SourceError: there is no such model.
    """
    config = architecture_of(source, vocab_size=vocab_size)
    with torch.device("meta"):
        if classifier:
            config.num_labels = 1
            return AutoModelForSequenceClassification.from_config(config)
        return AutoModelForCausalLM.from_config(config)
