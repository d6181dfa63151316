"""Rows of text become padded batches with masks of one polarity."""

import pytest

from lightning_marlhf.data.collate import Collator, pad
from lightning_marlhf.data.examples import Demonstration, Preference, PromptExample
from lightning_marlhf.data.tokenizers import character_tokenizer

PAD, EOS, BOS, UNKNOWN = 0, 1, 2, 3
A, B, C = 4, 5, 6


@pytest.fixture
def collator():
    return Collator(character_tokenizer("abc"))


def test_prompts_are_padded_on_the_left_with_the_mask_true_on_real_tokens(collator):
    batch = collator.prompts([PromptExample("x", "ab", {"gold": 1}), PromptExample("y", "c")])
    assert batch.input_ids.tolist() == [[BOS, A, B], [PAD, BOS, C]]
    assert batch.attention_mask.tolist() == [[True, True, True], [False, True, True]]
    assert batch.sample_ids == ("x", "y")
    assert batch.references == ({"gold": 1}, None)


def test_demonstrations_are_padded_on_the_right_and_end_with_eos_inside_the_response_mask(collator):
    batch = collator.demonstrations([Demonstration("x", "a", "bc"), Demonstration("y", "ab", "")])
    assert batch.input_ids.tolist() == [[BOS, A, B, C, EOS], [BOS, A, B, EOS, PAD]]
    assert batch.attention_mask.tolist() == [[True] * 5, [True] * 4 + [False]]
    assert batch.response_mask.tolist() == [[False, False, True, True, True], [False, False, False, True, False]]


def test_both_responses_of_a_pair_share_one_width(collator):
    batch = collator.preferences([Preference("x", "a", "b", "abc", 0.75)])
    assert batch.chosen_ids.tolist() == [[BOS, A, B, EOS, PAD, PAD]]
    assert batch.rejected_ids.tolist() == [[BOS, A, A, B, C, EOS]]
    assert batch.chosen_mask.sum().item() == 4
    assert batch.agreement.tolist() == [0.75]


def test_padding_can_go_to_a_wider_rectangle():
    ids, mask = pad([[A], [A, B]], value=PAD, side="left", to=3)
    assert ids.tolist() == [[PAD, PAD, A], [PAD, A, B]]
    assert mask.sum(dim=1).tolist() == [1, 2]


def test_unknown_characters_become_one_token_each(collator):
    assert collator.tokenizer("aéb", add_special_tokens=False).input_ids == [A, UNKNOWN, B]
    assert collator.tokenizer.decode([BOS, A, B, EOS], skip_special_tokens=True) == "ab"
