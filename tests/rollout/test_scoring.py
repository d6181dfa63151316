"""Scorers: what they read, and when they have to tokenise again."""

import pytest
import torch

from lightning_marlhf.data.tokenizers import character_tokenizer
from lightning_marlhf.models.backbone import ModelConfig, load_sequence_classifier
from lightning_marlhf.models.hf_export import export
from lightning_marlhf.rollout.scoring import RewardModelScorer, TinyTLDRGold
from lightning_marlhf.types import Prompts, Rollout

CONFIG = {
    "model_type": "llama",
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "initializer_range": 0.5,
}


def reward_model(folder, alphabet):
    tokenizer = character_tokenizer(alphabet)
    export(load_sequence_classifier(ModelConfig(CONFIG), tokenizer), tokenizer, folder, card={})
    return str(folder)


def rollout(tokenizer, *, response="ab", ended=True, left_padding=0):
    prompt = [tokenizer.pad_token_id] * left_padding + tokenizer("ba").input_ids
    answer = tokenizer(response, add_special_tokens=False).input_ids
    answer += [tokenizer.eos_token_id] if ended else []
    prompt_ids, ids = torch.tensor([prompt]), torch.tensor([answer])
    prompts = Prompts(
        prompt_ids, prompt_ids != tokenizer.pad_token_id, ("x",), ("ba",), ({"who": "boss"},)
    )
    return Rollout(prompts, ids, torch.ones_like(ids).bool(), (response,), torch.tensor([ended]))


def score(folder, tokenizer, **settings):
    scorer = RewardModelScorer(folder)
    scorer.prepare(tokenizer=tokenizer, device=torch.device("cpu"))
    return scorer.submit(rollout(tokenizer, **settings)).result(), scorer


@pytest.mark.parametrize("ended", [True, False])
def test_the_same_text_scores_the_same_through_ids_and_through_another_tokenizer(tmp_path, ended):
    """The policy's ids are permuted against the reward model's: only texts can be passed on."""
    own, other = character_tokenizer("ab"), character_tokenizer("ba")
    folder = reward_model(tmp_path / "rm", "ab")
    by_ids, same = score(folder, own, ended=ended)
    by_text, different = score(folder, other, ended=ended)
    assert same.same_tokenizer
    assert not different.same_tokenizer
    torch.testing.assert_close(by_ids.values, by_text.values)
    assert by_ids.details == ({"rm": by_ids.values.item()},)


def test_left_padding_changes_no_score(tmp_path):
    folder, tokenizer = reward_model(tmp_path / "rm", "ab"), character_tokenizer("ab")
    plain, padded = (score(folder, tokenizer, left_padding=n)[0].values for n in (0, 3))
    torch.testing.assert_close(plain, padded)


def test_gold_reads_texts_and_references():
    tokenizer = character_tokenizer("mybos. ")
    answer = rollout(tokenizer, response="my boss.")
    assert TinyTLDRGold().submit(answer).result().values.tolist() == [1.0]
