"""Which ids are tokens, and whether two tokenizers agree on them."""

import pytest

from lightning_marlhf.data.tokenizers import character_tokenizer
from lightning_marlhf.hub import vocabulary


def test_ids_with_a_gap_need_rows_and_are_no_tokens():
    tokenizer = character_tokenizer("ab")  # <pad>, <eos>, <bos>, <unk>, a, b
    assert vocabulary.rows_needed(tokenizer) == 6
    assert vocabulary.ids_without_token(tokenizer, 6) == []
    assert vocabulary.ids_without_token(tokenizer, 8) == [6, 7]

    gapped = character_tokenizer("ab")
    gapped.get_vocab = lambda: {"<pad>": 0, "a": 1, "<added>": 4}
    assert vocabulary.rows_needed(gapped) == 5
    assert vocabulary.ids_without_token(gapped, 6) == [2, 3, 5]


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("ab", "ab", None),
        ("ab", "abc", "'c' with id 6 is there alone"),
        ("abc", "ab", "'c' with id 6 is here alone"),
        ("ab", "ba", "'a' has id 4 here and 5 there"),
        ("ab", "ac", "id 5 is 'b' here and 'c' there"),
    ],
)
def test_tokenizers_differ_where_both_have_an_id_or_a_token(one, other, expected):
    tokenizers = character_tokenizer(one), character_tokenizer(other)
    assert vocabulary.difference(*tokenizers) == expected


def test_a_token_that_was_added_to_one_of_them_is_no_difference():
    plain, larger = character_tokenizer("ab"), character_tokenizer("ab")
    larger.add_special_tokens({"pad_token": "[PAD]"})
    larger.add_tokens("turn")
    assert vocabulary.difference(plain, larger) is None
    assert vocabulary.difference(larger, plain) is None
    other = character_tokenizer("abc")  # whose id 6 is no added token
    assert vocabulary.difference(larger, other) == "id 6 is '[PAD]' here and 'c' there"
