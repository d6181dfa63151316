"""Prompts and responses of small models."""

import torch

from lightning_marlhf.rollout.generation import SamplingSettings, generate, row_seeds
from lightning_marlhf.types import Prompts

SAMPLE = SamplingSettings(max_new_tokens=20)


def as_prompts(tokenizer, texts, *, extra_padding=0):
    rows = tokenizer(list(texts), padding=True, return_tensors="pt")
    pad = (extra_padding, 0)
    return Prompts(
        input_ids=torch.nn.functional.pad(rows.input_ids, pad, value=tokenizer.pad_token_id),
        attention_mask=torch.nn.functional.pad(rows.attention_mask, pad).bool(),
        sample_ids=tuple(f"row-{text}" for text in texts),
        texts=tuple(texts),
        references=(None,) * len(texts),
    )


def respond(policy, prompts, tokenizer, settings=SAMPLE):
    """Each row's response tokens, as lists."""
    seeds = row_seeds(7, prompts.sample_ids, 0)
    rollout = generate(policy, prompts, tokenizer=tokenizer, settings=settings, seeds=seeds)
    return [row[mask].tolist() for row, mask in zip(rollout.response_ids, rollout.response_mask, strict=True)]
