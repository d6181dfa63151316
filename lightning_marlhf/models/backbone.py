"""Language models: loaded or initialised, and made ready for RLHF.

Ready means: dropout is off, the special tokens are the tokenizer's, pad is never EOS, and no weight
is initialised that should have been loaded. Sharding is not done here; for it, a model can be had as a
skeleton: on the meta device, without values.
"""

import math
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    GenerationConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from lightning_marlhf.hub.sources import SourceError, locate, reading
from lightning_marlhf.hub.tokenizer import end_tokens
from lightning_marlhf.models import fsdp
from lightning_marlhf.models.configs import (
    ModelConfig,
    ModelSource,
    build_config,
    torch_dtype,
    without_dropout,
)

__all__ = [
    "ModelConfig",
    "ModelSource",
    "context_length",
    "hidden_states",
    "load_causal_lm",
    "load_sequence_classifier",
    "position_ids",
    "response_ends",
]


def load_causal_lm(
    source: ModelSource,
    tokenizer: PreTrainedTokenizerBase,
    *,
    dtype: str = "float32",
    skeleton: bool = False,
) -> PreTrainedModel:
    """Load or initialise a causal language model, without dropout.

    Args:
        source: a folder, a Hub id, or an inline configuration.
        tokenizer: the model's; gives the special tokens, and the vocabulary size of an inline
            configuration.
        dtype: of the weights.
        skeleton: leave the weights of a folder or Hub id on the meta device.

    Raises:
        SourceError: if it cannot be had, is a classifier, or lacks weights.
    """
    if isinstance(source, ModelConfig):
        return _make_ready(
            _initialise(AutoModelForCausalLM, source, tokenizer, dtype=dtype), tokenizer
        )
    folder = locate(source)
    config = _read_config(source, folder)
    if _is_classifier(config):
        raise SourceError(
            f"{source} is a classifier ({config.architectures[0]}): "
            "expected a causal language model."
        )
    if skeleton:
        model = _on_meta(AutoModelForCausalLM, config, dtype=dtype)
        with suppress(OSError):  # it has no settings of its own
            model.generation_config = GenerationConfig.from_pretrained(folder)
    else:
        model, missing = _from_pretrained(AutoModelForCausalLM, source, folder, config, dtype=dtype)
        refuse_lost_weights(source, missing)
    return _make_ready(model, tokenizer, ends=response_ends(model))


def load_sequence_classifier(
    source: ModelSource,
    tokenizer: PreTrainedTokenizerBase,
    *,
    dtype: str = "float32",
    seed: int = 0,
    new_head: bool = True,
    skeleton: bool = False,
) -> PreTrainedModel:
    """Load or initialise a one-label classifier (a reward model or critic), without dropout.

    Args:
        source: a one-label classifier (its head is kept), a causal language model (its body is kept
            and a new head drawn from N(0, 1 / (hidden + 1)), as Stiennon et al. do), or an inline
            configuration.
        tokenizer: the model's.
        dtype: of the weights.
        seed: of a new head; an inline configuration brings its own.
        new_head: False refuses a causal language model, whose new head would score at random.
        skeleton: leave the weights of a folder or Hub id on the meta device.

    Raises:
        SourceError: if it cannot be had, has several labels, or lacks weights that are not the new
            head's.
    """
    if isinstance(source, ModelConfig):
        model = _initialise(
            AutoModelForSequenceClassification, source, tokenizer, dtype=dtype, num_labels=1
        )
        draw_head(model, seed=source.seed or 0)
        return _make_ready(model, tokenizer)
    folder = locate(source)
    config = _read_config(source, folder)
    is_classifier = _is_classifier(config)
    if not (is_classifier or new_head):
        raise SourceError(
            f"{source} is no reward model ({(config.architectures or ['unknown'])[0]}): "
            "expected a sequence classifier with one label."
        )
    if is_classifier and config.num_labels != 1:
        raise SourceError(
            f"{source} gives {config.num_labels} scores: "
            "expected a sequence classifier with one label."
        )
    config.num_labels = 1
    if skeleton:
        bones = _on_meta(AutoModelForSequenceClassification, config, dtype=dtype)
        return _make_ready(bones, tokenizer)
    model, missing = _from_pretrained(
        AutoModelForSequenceClassification, source, folder, config, dtype=dtype
    )
    complete(model, source, missing, seed=seed)
    return _make_ready(model, tokenizer)


def complete(model: PreTrainedModel, source: str, missing: set[str], *, seed: int) -> None:
    """Draw the head of a classifier that was a language model; refuse any other weight that its files lack.

    Args:
        model: as loaded; sharded or whole.
        source: where from.
        missing: names of the weights that were not there.
        seed: of a new head.

    Raises:
        SourceError: names lost weights.
    """
    was_classifier = _is_classifier(model.config)
    head = set() if was_classifier else {name for name in missing if name.startswith("score.")}
    refuse_lost_weights(source, missing - head)
    if head:
        draw_head(model, seed=seed)


def draw_head(classifier: PreTrainedModel, *, seed: int) -> None:
    """Draw the head's weights from N(0, 1 / (hidden + 1)), the same for every dtype."""
    weight = score_head(classifier).weight
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(weight.shape, generator=generator) / (weight.shape[1] + 1) ** 0.5
    fsdp.assign(weight, lambda rows: drawn[rows])


def score_head(classifier: PreTrainedModel) -> nn.Linear:
    """Find the linear head of a sequence classifier.

    Raises:
        SourceError: if its architecture keeps it anywhere but in ``score``, as decoder models do.
    """
    head = getattr(classifier, "score", None)
    if not isinstance(head, nn.Linear):
        raise SourceError(
            f"{type(classifier).__name__} has no linear head called `score`: "
            "expected a decoder model such as Gemma, Llama or GPT-2."
        )
    return head


def response_ends(lm: PreTrainedModel) -> list[int]:
    """Name the tokens that end a response: ``eos_token_id`` of the model's generation settings.

    Those of a model that was loaded here are the EOS of its tokenizer, all that its own settings name, and the end of a
    turn in its chat template.
    """
    ends = lm.generation_config.eos_token_id
    return [ends] if isinstance(ends, int) else list(ends or [])


def context_length(model: PreTrainedModel) -> float:
    """Tell how many tokens the model has positions for; infinity where its configuration sets no limit."""
    return getattr(model.config, "max_position_embeddings", None) or math.inf


def position_ids(attention_mask: Tensor) -> Tensor:
    """Count the real tokens before each token, so that left padding shifts nothing.

    Args:
        attention_mask: [batch, seq], True (or 1) on real tokens.

    Returns:
        [batch, seq]: 0 for the first real token and for left padding; right padding repeats the
        last position.
    """
    return (attention_mask.long().cumsum(dim=-1) - 1).clamp(min=0)


def hidden_states(model: PreTrainedModel, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
    """Run the body below the model's head.

    Args:
        model: a causal language model or a sequence classifier.
        input_ids: [batch, seq], padded on either side.
        attention_mask: [batch, seq], True on real tokens.

    Returns:
        [batch, seq, hidden], after the last norm.
    """
    body = getattr(model, model.base_model_prefix)
    output = body(
        input_ids=input_ids,
        attention_mask=attention_mask,
        position_ids=position_ids(attention_mask),
        use_cache=False,
    )
    return output.last_hidden_state


def _initialise(
    auto_class: Any,
    source: ModelConfig,
    tokenizer: PreTrainedTokenizerBase,
    *,
    dtype: str,
    **extra: Any,
) -> PreTrainedModel:
    config = build_config(source.config, vocab_size=len(tokenizer), **extra)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(source.seed or 0)
        return auto_class.from_config(config, dtype=torch_dtype(dtype))


def _read_config(source: str, folder: str) -> PreTrainedConfig:
    with reading(source):
        return without_dropout(AutoConfig.from_pretrained(folder))


def _from_pretrained(
    auto_class: Any, source: str, folder: str, config: PreTrainedConfig, *, dtype: str
) -> tuple[PreTrainedModel, set[str]]:
    """Load the model, and name the weights that its files lack."""
    with reading(source):
        model, info = auto_class.from_pretrained(
            folder, config=config, dtype=torch_dtype(dtype), output_loading_info=True
        )
    return model.train(), set(info["missing_keys"])


def _on_meta(auto_class: Any, config: PreTrainedConfig, *, dtype: str) -> PreTrainedModel:
    with torch.device("meta"):
        return auto_class.from_config(config, dtype=torch_dtype(dtype)).train()


def refuse_lost_weights(source: str, missing: set[str]) -> None:
    """Refuse a model whose files lack some of its weights.

    Raises:
        SourceError: names some of them.
    """
    if missing:
        names = ", ".join(sorted(missing)[:3]) + (" ..." if len(missing) > 3 else "")
        raise SourceError(
            f"{source} lacks {len(missing)} of its weights ({names}): "
            "expected a complete model; export it again."
        )


def _make_ready(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, *, ends: Sequence[int] = ()
) -> PreTrainedModel:
    """Give the model the tokenizer's special tokens, and rows in its embeddings for all tokens.

    Responses may end with ``ends``, too, but for BOS, which settings that nobody chose may name.
    """
    if len(tokenizer) > model.get_input_embeddings().num_embeddings:
        _grow_embeddings(model, len(tokenizer))
    configs = (
        [model.config]
        if getattr(model, "generation_config", None) is None
        else [model.config, model.generation_config]
    )
    for config in configs:
        config.pad_token_id = tokenizer.pad_token_id
        config.eos_token_id = tokenizer.eos_token_id
        config.bos_token_id = tokenizer.bos_token_id
    if len(configs) > 1:
        own = [end for end in ends if end != tokenizer.bos_token_id]
        every = list(dict.fromkeys([*end_tokens(tokenizer), *own]))
        model.generation_config.eos_token_id = every if len(every) > 1 else (every or [None])[0]
    return model


def _grow_embeddings(model: PreTrainedModel, size: int) -> None:
    """Add rows for added tokens, at the mean of the old ones: such tokens start unlikely."""
    old = model.get_input_embeddings().num_embeddings
    if model.device.type == "meta":
        raise SourceError(
            f"the tokenizer has {size} tokens and the model {old}: a model that has to grow cannot be sharded; "
            "train or export it in one process first"
        )
    with torch.random.fork_rng(devices=[]):
        model.resize_token_embeddings(size, mean_resizing=False)
    for layer in (model.get_input_embeddings(), model.get_output_embeddings()):
        if layer is not None:
            with torch.no_grad():
                layer.weight[old:] = layer.weight[:old].float().mean(dim=0).to(layer.weight.dtype)


def _is_classifier(config: PreTrainedConfig) -> bool:
    return any(name.endswith("ForSequenceClassification") for name in config.architectures or ())
