"""Family-independent access to a model: backbone, head, position ids, context length, stop tokens.

Loading is in `loading.py`.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn
from transformers import GenerationConfig, PreTrainedModel

from lightning_marlhf.hub.sources import SourceError


def hidden_states(model: PreTrainedModel, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
    """Run the body below the model's head.

    Args:
        model: a causal language model or a sequence classifier.
        input_ids: [batch, seq], padded on either side.
        attention_mask: [batch, seq], True on real tokens.

    Returns:
        [batch, seq, hidden], after the last norm.
    """
    output = body(model)(
        input_ids=input_ids, attention_mask=attention_mask, position_ids=position_ids(attention_mask), use_cache=False
    )
    return output.last_hidden_state


def position_ids(attention_mask: Tensor) -> Tensor:
    """Count the real tokens before each token, so that left padding shifts nothing.

    Args:
        attention_mask: [batch, seq], True (or 1) on real tokens.

    Returns:
        [batch, seq]: 0 for the first real token and for left padding; right padding repeats the last position.
    """
    return (attention_mask.long().cumsum(dim=-1) - 1).clamp(min=0)


def body(model: PreTrainedModel) -> nn.Module:
    """Return the backbone below the head.

    Raises:
        SourceError: the model does not name it.
    """
    for name in (model.base_model_prefix, "model"):  # Llama 4's prefix is that of a larger model
        part = getattr(model, name, None)
        if isinstance(part, nn.Module):
            return part
    raise SourceError(f"{type(model).__name__} has no known backbone, so it is not supported")


def score_head(classifier: PreTrainedModel) -> nn.Linear:
    """Find the linear head of a sequence classifier.

    Raises:
        SourceError: if its architecture keeps it anywhere but in ``score``, as decoder models do.
    """
    if not has_score_head(classifier):
        raise SourceError(
            f"{classifier.name_or_path or 'the model'} is a {type(classifier).__name__}, which has no linear head "
            "called `score`: expected a decoder model such as Gemma, Llama or GPT-2; others can be scorers, and "
            "cannot be trained here, as critic or as reward model."
        )
    return classifier.score  # type: ignore[return-value]


def has_score_head(classifier: PreTrainedModel) -> bool:
    """Return whether a classifier has one linear head over every hidden state (encoders pool instead)."""
    return isinstance(getattr(classifier, "score", None), nn.Linear)


def context_length(model: PreTrainedModel) -> float:
    """Return the context length in tokens; infinity if the configuration sets no limit."""
    stated = getattr(model.config.get_text_config(), "max_position_embeddings", None) or 0
    limit = stated if stated > 0 else math.inf  # XLNet states -1
    for name, table in model.named_modules():
        if name.endswith("position_embeddings") and isinstance(table, nn.Embedding):
            before = -1 if table.padding_idx is None else table.padding_idx
            limit = min(limit, table.num_embeddings - before - 1)  # RoBERTa counts from after pad
    return limit


@contextmanager
def generation_mode(lm: PreTrainedModel) -> Iterator[None]:
    """Switch to eval mode (checkpointing would drop the cache) with a default generation_config; restore both."""
    was_training, settings = lm.training, lm.generation_config
    lm.eval()
    lm.generation_config = GenerationConfig()
    try:
        yield
    finally:
        lm.generation_config = settings
        lm.train(was_training)
