"""Loads or initialises language models and sequence classifiers for RLHF.

Ready means: dropout is off, the special tokens are the tokenizer's, pad is never EOS, the model has the vocabulary of
the tokenizer that it is given, and no weight is initialised that should have been loaded. Sharding is not done here;
for it, a model can be built on the meta device, without values.
"""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    GenerationConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from lightning_marlhf.hub import vocabulary
from lightning_marlhf.hub.end_tokens import end_tokens, response_ends
from lightning_marlhf.hub.sources import TOKENIZER_FILES, SourceError, code_of_its_own, locate, reading
from lightning_marlhf.models import fsdp
from lightning_marlhf.models.backbone import score_head
from lightning_marlhf.models.configs import ModelConfig, ModelSource, build_config, torch_dtype, without_dropout


def load_causal_lm(
    source: ModelSource, tokenizer: PreTrainedTokenizerBase, *, dtype: str = "float32", on_meta: bool = False
) -> PreTrainedModel:
    """Load or initialise a causal language model, without dropout.

    Args:
        source: a folder, a Hub id, or an inline configuration.
        tokenizer: the model's; gives the special tokens, and the vocabulary size of an inline configuration.
        dtype: Dtype of the weights.
        on_meta: leave the weights of a folder or Hub id on the meta device.

    Raises:
        SourceError: if it cannot be loaded, is a classifier, lacks weights, or has another tokenizer.
    """
    if isinstance(source, ModelConfig):
        return _align_with_tokenizer(_initialise(AutoModelForCausalLM, source, tokenizer, dtype=dtype), tokenizer)
    folder = locate(source)
    config = _read_config(source, folder)
    refuse_other_tokenizer(source, folder, tokenizer)
    refuse_other_task(AutoModelForCausalLM, config, source)
    if _is_classifier(config):
        raise SourceError(f"{source} is a classifier ({config.architectures[0]}): expected a causal language model.")
    if on_meta:
        model = _build_on_meta(AutoModelForCausalLM, source, config, dtype=dtype)
        with suppress(OSError):  # it has no settings of its own
            model.generation_config = GenerationConfig.from_pretrained(folder)
    else:
        model, missing = _from_pretrained(AutoModelForCausalLM, source, folder, config, dtype=dtype)
        refuse_missing_weights(source, missing)
    return _align_with_tokenizer(model, tokenizer, ends=response_ends(model))


def load_sequence_classifier(
    source: ModelSource,
    tokenizer: PreTrainedTokenizerBase,
    *,
    dtype: str = "float32",
    seed: int = 0,
    new_head: bool = True,
    label: int | str | None = None,
    on_meta: bool = False,
) -> PreTrainedModel:
    """Load or initialise a classifier that gives one score (a reward model or critic), without dropout.

    Args:
        source: a one-label classifier (its head is kept), a causal language model (its body is kept and a new head
            drawn from N(0, 1 / (hidden + 1)), as Stiennon et al. do), or an inline configuration.
        tokenizer: the model's.
        dtype: Dtype of the weights.
        seed: Seed of a new head; an inline configuration has its own.
        new_head: False refuses a causal language model, whose new head would score at random.
        label: the one whose logit is the score, of a classifier with several.
        on_meta: leave the weights of a folder or Hub id on the meta device.

    Raises:
        SourceError: if it cannot be loaded, has several labels and none is chosen, lacks weights that are not the new
            head's, or has another tokenizer.
    """
    if isinstance(source, ModelConfig):
        model = _initialise(AutoModelForSequenceClassification, source, tokenizer, dtype=dtype, num_labels=1)
        draw_head(model, seed=source.seed or 0)
        return _align_with_tokenizer(model, tokenizer)
    folder = locate(source)
    config = _read_config(source, folder)
    refuse_other_tokenizer(source, folder, tokenizer)
    refuse_other_task(AutoModelForSequenceClassification, config, source)
    is_classifier = _is_classifier(config)
    if not (is_classifier or new_head):
        raise SourceError(
            f"{source} is no reward model ({(config.architectures or ['unknown'])[0]}): "
            "expected a sequence classifier with one label."
        )
    if is_classifier:
        label_index(config, label, source=source)
    else:
        config.num_labels = 1
    if on_meta:
        model = _build_on_meta(AutoModelForSequenceClassification, source, config, dtype=dtype)
        return _align_with_tokenizer(model, tokenizer)
    model, missing = _from_pretrained(AutoModelForSequenceClassification, source, folder, config, dtype=dtype)
    if not is_classifier:
        score_head(model)
    init_new_head(model, source, missing, seed=seed)
    return _align_with_tokenizer(model, tokenizer)


def label_index(config: PreTrainedConfig, label: int | str | None, *, source: str = "") -> int:
    """Find the label whose logit is the score.

    Args:
        config: Configuration of a sequence classifier.
        label: its number or name; None if there is only one.
        source: named in errors.

    Raises:
        SourceError: there are several labels and none is chosen, or there is no such label.
    """
    names = [str(config.id2label[index]) for index in sorted(config.id2label)]
    source = source or config.name_or_path or config.model_type
    if label is None and len(names) == 1:
        return 0
    known = ", ".join(f"{index} ({name})" for index, name in enumerate(names[:20]))
    if label is None:
        raise SourceError(
            f"{source} gives {len(names)} scores: expected a sequence classifier with one label; as a scorer it needs "
            f"the label whose logit is the score, one of {known}"
        )
    if label in names:
        return names.index(str(label))
    if str(label).isdecimal() and int(label) < len(names):
        return int(label)
    raise SourceError(f"{source} has no label {label!r}: expected one of {known}")


def init_new_head(model: PreTrainedModel, source: str, missing: set[str], *, seed: int) -> None:
    """Draw the head of a classifier that was a language model; refuse any other weight that its files lack.

    Args:
        model: as loaded; sharded or full.
        source: folder or Hub id, for errors.
        missing: names of missing weights.
        seed: Seed of a new head.

    Raises:
        SourceError: lists missing weights.
    """
    was_classifier = _is_classifier(model.config)
    head = set() if was_classifier else {name for name in missing if name.startswith("score.")}
    refuse_missing_weights(source, missing - head)
    if head:
        draw_head(model, seed=seed)


def draw_head(classifier: PreTrainedModel, *, seed: int) -> None:
    """Draw the head's weights from N(0, 1 / (hidden + 1)), the same for every dtype."""
    weight = score_head(classifier).weight
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(weight.shape, generator=generator) / (weight.shape[1] + 1) ** 0.5
    fsdp.assign(weight, lambda rows: drawn[rows])


def refuse_other_task(auto_class: Any, config: PreTrainedConfig, name: str) -> None:
    """Refuse a family of which transformers has no model of a kind: T5 is no causal language model.

    Raises:
        SourceError: names the model and its family.
    """
    if type(config) not in auto_class._model_mapping:
        kind = {
            AutoModelForCausalLM: "causal language model",
            AutoModelForSequenceClassification: "sequence classifier",
        }[auto_class]
        raise SourceError(
            f"{name}: transformers has no {kind} of model_type {config.model_type!r}; expected a decoder model such as "
            "Gemma, Llama, Qwen or GPT-2"
        )


def refuse_other_tokenizer(source: str, folder: str, tokenizer: PreTrainedTokenizerBase) -> None:
    """Refuse a tokenizer that means other tokens by the same ids than the model's own; many models come without one.

    Raises:
        SourceError: names both, and an id in which they differ.
    """
    if tokenizer.name_or_path == folder:
        return
    if Path(folder).is_dir() and not any((Path(folder) / name).is_file() for name in TOKENIZER_FILES):
        return
    try:
        with reading(source):
            own = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except SourceError:  # a model without a tokenizer that could be compared
        return
    difference = vocabulary.difference(own, tokenizer)
    if difference is not None:
        raise SourceError(
            f"{source} has another tokenizer than {tokenizer.name_or_path or 'the data'} ({difference}): expected "
            "one tokenizer for data, policy, reference and critic; set data.init_args.tokenizer, or another model"
        )


def refuse_missing_weights(source: str, missing: set[str]) -> None:
    """Refuse a model whose files lack some of its weights.

    Raises:
        SourceError: names some of them.
    """
    if missing:
        names = ", ".join(sorted(missing)[:3]) + (" ..." if len(missing) > 3 else "")
        raise SourceError(
            f"{source} lacks {len(missing)} of its weights ({names}): expected a complete model; export it again."
        )


def _refuse_quantised(source: str, model: PreTrainedModel) -> None:
    """Refuse weights of fewer bits than can learn; those that transformers turned back into floats are none."""
    settings = getattr(model.config, "quantization_config", None)
    if settings is not None or not all(weight.is_floating_point() for weight in model.parameters()):
        settings = settings if isinstance(settings, dict) else getattr(settings, "__dict__", {})
        method = str(settings.get("quant_method", "unknown"))
        raise SourceError(
            f"{source} is quantised ({method.rpartition('.')[2].lower()}): expected weights in float32, bfloat16 or "
            "float16; use the unquantised model"
        )


def _initialise(
    auto_class: Any, source: ModelConfig, tokenizer: PreTrainedTokenizerBase, *, dtype: str, **extra: Any
) -> PreTrainedModel:
    config = build_config(
        source.config, vocab_size=vocabulary.rows_needed(tokenizer), pad_token_id=tokenizer.pad_token_id, **extra
    )
    of_dtype = torch_dtype(dtype)
    name = f"config of model_type {config.model_type!r}"
    refuse_other_task(auto_class, config, name)
    with torch.random.fork_rng(devices=[]), reading(name):
        torch.manual_seed(source.seed or 0)
        return auto_class.from_config(config, dtype=of_dtype)


def _read_config(source: str, folder: str) -> PreTrainedConfig:
    with reading(source):
        settings, _ = PreTrainedConfig.get_config_dict(folder)
        model_type = settings.get("model_type")
        if "auto_map" in settings and model_type not in CONFIG_MAPPING:
            raise code_of_its_own(source)
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    return without_dropout(config)


def _from_pretrained(
    auto_class: Any, source: str, folder: str, config: PreTrainedConfig, *, dtype: str
) -> tuple[PreTrainedModel, set[str]]:
    """Load the model, and name the weights that its files lack."""
    with reading(source):
        model, info = auto_class.from_pretrained(
            folder,
            config=config,
            dtype=torch_dtype(dtype),
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            trust_remote_code=False,
        )
    _refuse_quantised(source, model)
    for name, there, here in sorted(info["mismatched_keys"])[:1]:
        raise SourceError(f"{source} has {name} as {list(there)}: expected {list(here)}")
    return model.train(), set(info["missing_keys"])


def _build_on_meta(auto_class: Any, source: str, config: PreTrainedConfig, *, dtype: str) -> PreTrainedModel:
    with torch.device("meta"), reading(source):
        model = auto_class.from_config(config, dtype=torch_dtype(dtype)).train()
    _refuse_quantised(source, model)
    return model


def _align_with_tokenizer(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, *, ends: Sequence[int] = ()
) -> PreTrainedModel:
    """Align special tokens and embedding size with the tokenizer.

    Responses may end with ``ends``, too, except BOS, which default generation_configs may list.
    """
    rows = vocabulary.rows_needed(tokenizer)
    try:
        old = model.get_input_embeddings().weight.shape[0]
    except NotImplementedError as error:  # CANINE hashes characters
        raise SourceError(
            f"{model.name_or_path} ({type(model).__name__}) has no table of embeddings, so it cannot be used here: "
            "use a model of another family"
        ) from error
    if rows > old:
        tokens = sorted((index, name) for name, index in tokenizer.get_vocab().items())
        for index, name in tokens:
            if index >= old and index not in tokenizer.added_tokens_decoder:
                raise SourceError(
                    f"{model.name_or_path} has embeddings for {old} tokens, and {tokenizer.name_or_path or 'the data'} "
                    f"has others ({name!r} is {index}): expected one tokenizer for data, policy, reference and critic"
                )
        _grow_embeddings(model, rows)
    generation = getattr(model, "generation_config", None)
    configs = [model.config, model.config.get_text_config(), generation]
    for config in configs if generation is not None else configs[:2]:
        config.pad_token_id = tokenizer.pad_token_id
        config.eos_token_id = tokenizer.eos_token_id
        config.bos_token_id = tokenizer.bos_token_id
    if generation is not None:
        own = [end for end in ends if end != tokenizer.bos_token_id]
        every = list(dict.fromkeys([*end_tokens(tokenizer), *own]))
        generation.eos_token_id = every if len(every) > 1 else (every or [None])[0]
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
