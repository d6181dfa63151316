"""A head with more rows than the tokenizer has tokens: published vocabularies are padded to a multiple of 64."""

import copy

import pytest
import torch

from lightning_marlhf.models.policy import Policy
from lightning_marlhf.rollout.generation import SamplingSettings, generate, row_seeds
from lightning_marlhf.types import Prompts

TOKENS, ROWS = 32, 64


@pytest.fixture
def padded(make_lm):
    """A model whose likeliest tokens, everywhere, are rows of its head without a token."""
    lm = make_lm("llama")
    lm.resize_token_embeddings(ROWS, mean_resizing=False)
    lm.lm_head = torch.nn.Linear(32, ROWS).requires_grad_(False)
    lm.lm_head.bias[TOKENS:] = 5.0
    lm.lm_head.bias[TOKENS + 7] = 9.0
    return lm


@pytest.fixture
def cut(padded):
    """The same model without those rows."""
    lm = copy.deepcopy(padded)
    head = torch.nn.Linear(32, TOKENS).requires_grad_(False)
    head.weight.copy_(padded.lm_head.weight[:TOKENS])
    head.bias.copy_(padded.lm_head.bias[:TOKENS])
    lm.lm_head = head
    lm.config.vocab_size = TOKENS
    return lm


@pytest.fixture
def prompts(tokenizer):
    texts = ("the cat sat", "a dog", "who did what", "z")
    rows = tokenizer(list(texts), padding=True, return_tensors="pt")
    return Prompts(rows.input_ids, rows.attention_mask.bool(), texts, texts, (None,) * len(texts))


@pytest.mark.parametrize("settings", [{"temperature": 0}, {"temperature": 1.3}, {"top_k": 3}, {"top_p": 0.7}])
def test_ids_without_a_token_are_never_sampled_and_the_others_as_if_they_were_not_there(
    padded, cut, prompts, tokenizer, settings
):
    seeds = row_seeds(3, prompts.sample_ids, 0)
    options = {"tokenizer": tokenizer, "settings": SamplingSettings(max_new_tokens=20, **settings)}
    got, wanted = (generate(Policy(lm), prompts, seeds=seeds, **options) for lm in (padded, cut))
    assert got.response_ids.max() < TOKENS
    assert torch.equal(got.response_ids, wanted.response_ids)
    assert got.texts == wanted.texts


def test_log_probabilities_are_those_of_the_whole_head(padded, prompts, tokenizer):
    """Of policy and reference alike, so that ratios begin at 1 and KL at 0."""
    rollout = generate(
        Policy(padded),
        prompts,
        tokenizer=tokenizer,
        settings=SamplingSettings(max_new_tokens=4),
        seeds=row_seeds(3, prompts.sample_ids, 0),
    )
    ids, mask = rollout.input_ids, rollout.attention_mask
    width = rollout.response_ids.shape[1]
    got = Policy(padded)(ids, mask, num_targets=width, temperature=1.0).logprobs[0]
    row = ids[0][mask[0]]
    logits = padded(row[None]).logits[0, -width - 1 : -1]
    assert logits.shape[1] == ROWS
    own = logits.log_softmax(dim=-1).gather(1, row[-width:, None]).squeeze(1)
    torch.testing.assert_close(got, own, atol=1e-5, rtol=0)
