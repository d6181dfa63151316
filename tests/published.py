"""Folders as people publish them: sharded safetensors, an index, a byte-level tokenizer that others trained."""

import json
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    GemmaConfig,
    GemmaForCausalLM,
    LlamaConfig,
    LlamaForSequenceClassification,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from lightning_marlhf.hub.sources import quietly

PAD, EOS, BOS, START, END = range(5)
NAMES = ("<pad>", "<eos>", "<bos>", "<start_of_turn>", "<end_of_turn>")
GEMMA_TEMPLATE = (  # as gemma-it's: BOS of its own, no system turn, an end of turn that is not EOS
    "{{ bos_token }}{% for m in messages %}"
    "{% if m['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "<start_of_turn>{{ 'model' if m['role'] == 'assistant' else m['role'] }}\n"
    "{{ m['content'] | trim }}<end_of_turn>\n{% endfor %}"
    "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 1,
    "max_position_embeddings": 128,
    "initializer_range": 0.3,
    "eos_token_id": EOS,
    "bos_token_id": BOS,
}
CLASSES = {
    "gemma": (GemmaConfig, GemmaForCausalLM, {"head_dim": 8, "pad_token_id": PAD}),
    "gemma2": (
        Gemma2Config,
        Gemma2ForCausalLM,
        {
            "head_dim": 8,
            "pad_token_id": PAD,
            "sliding_window": 8,
            "final_logit_softcapping": 30.0,
            "attn_logit_softcapping": 50.0,
        },
    ),
    "reward_model": (LlamaConfig, LlamaForSequenceClassification, {"num_labels": 1}),
}


def byte_tokenizer(
    *, pad: str | None = "<pad>", template: str | None = None, adds_eos: bool = False
) -> PreTrainedTokenizerFast:
    """Build a byte-level BPE whose BOS is added to every text, and its EOS if asked for."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=list(NAMES),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(["\n\nHuman: what is it?\n\nAssistant: it is a cat."] * 9, trainer)
    backend.post_processor = processors.TemplateProcessing(
        single="<bos> $A" + " <eos>" * adds_eos, special_tokens=[("<bos>", BOS), ("<eos>", EOS)]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token="<bos>",
        eos_token="<eos>",
        pad_token=pad,
        additional_special_tokens=["<start_of_turn>", "<end_of_turn>"],
    )
    tokenizer.chat_template = template
    return tokenizer


def spaced_tokenizer() -> PreTrainedTokenizerFast:
    """Build a tokenizer as Llama 2's: it puts a space before every text, which its decoder takes away again."""
    backend = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True))
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=60, special_tokens=["<pad>", "<eos>", "<bos>", "<unk>"], show_progress=False
    )
    backend.train_from_iterator(["Assistant: it is a cat.\n    return it"] * 9, trainer)
    state = json.loads(backend.to_str())
    learnt = state["model"]["vocab"]
    learnt.update({f"<0x{byte:02X}>": len(learnt) + byte for byte in range(256)})
    backend = Tokenizer.from_str(json.dumps(state))
    backend.post_processor = processors.TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", BOS)])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<bos>", eos_token="<eos>", pad_token="<pad>", unk_token="<unk>"
    )


def publish(folder: Path, kind: str = "gemma", **settings: Any) -> Path:
    """Write a model of ``kind`` with a tokenizer of ``settings`` to ``folder``."""
    tokenizer = byte_tokenizer(**settings)
    config_class, model_class, extra = CLASSES[kind]
    torch.manual_seed(0)
    model: PreTrainedModel = model_class(config_class(vocab_size=len(tokenizer), **{**SIZES, **extra}))
    with quietly():
        model.save_pretrained(folder, max_shard_size="20KB")
    tokenizer.save_pretrained(folder)
    special = json.dumps(tokenizer.special_tokens_map)  # older versions of transformers wrote it
    (folder / "special_tokens_map.json").write_text(special)
    assert (folder / "model.safetensors.index.json").is_file()
    return folder
