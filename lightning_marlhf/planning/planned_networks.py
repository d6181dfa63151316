"""The shape of a network, and how its numbers are kept: what the arithmetic of `budget.py` starts from."""

from typing import Any

from torch import nn
from transformers import PreTrainedModel

from lightning_marlhf.models.configs import torch_dtype
from lightning_marlhf.planning.memory import Precision, Shape

_HALF = 2  # bytes


def precision_of(dtype: str, trainer_precision: Any, sharded: bool) -> Precision:
    """Say how numbers are kept, from the weights' dtype and `trainer.precision`; sharded layers compute in bf16."""
    weight = torch_dtype(dtype).itemsize
    words = str(trainer_precision)
    if sharded:
        return Precision(weight, _HALF, autocast=False)
    if words.endswith("mixed") or words in ("16", "bf16"):
        return Precision(weight, _HALF, autocast=True)
    if words.endswith("16-true"):
        return Precision(_HALF, _HALF, autocast=False)
    return Precision(weight, weight, autocast=False)


def shape_of(model: PreTrainedModel, *, scalar: bool) -> Shape:
    """Measure a model, which may be on the meta device.

    Args:
        model: a causal language model or a classifier.
        scalar: it has a head of one output.

    Raises:
        ValueError: the arithmetic does not know its family.
    """
    config = model.config
    if not hasattr(config, "intermediate_size") or not hasattr(config, "num_key_value_heads"):
        raise ValueError(
            f"{config.model_type} models cannot be planned: expected a family such as Gemma, Gemma-2 or Llama"
        )
    body = getattr(model, model.base_model_prefix)
    norms = sum(type(part).__name__.endswith("RMSNorm") for part in body.layers[0].modules())
    return Shape(
        parameters=sum(weight.numel() for weight in model.parameters()),
        matrices=sum(part.weight.numel() for part in body.modules() if isinstance(part, nn.Linear)),
        vocabulary=0 if scalar else config.vocab_size,
        layers=config.num_hidden_layers,
        hidden=config.hidden_size,
        intermediate=config.intermediate_size,
        heads=config.num_attention_heads,
        key_value_heads=config.num_key_value_heads,
        head_dim=getattr(config, "head_dim", None)
        or config.hidden_size // config.num_attention_heads,
        norms=norms,
        soft_capped=getattr(config, "attn_logit_softcapping", None) is not None,
        final_soft_capped=getattr(config, "final_logit_softcapping", None) is not None,
    )
