"""Texts become tokens, and rows that are too long are cut or dropped as asked for."""

import pytest
from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from lightning_marlhf.data.encoding import Encoding, encode
from lightning_marlhf.data.tokenizers import character_tokenizer

PAD, EOS, BOS, UNKNOWN = 0, 1, 2, 3
A, B, C, D = 4, 5, 6, 7
PLAIN = {"max_length": 10, "max_prompt_length": 4, "truncate": "response", "keep_eos": False, "joined": False}


@pytest.fixture
def encoded():
    """Encode one row; settings override PLAIN."""

    def run(stage, prompt, *responses, rejected="", unusable="", tokenizer=None, **settings):
        row = {
            "row": 5,
            "prompt": prompt,
            "responses": list(responses),
            "rejected": rejected,
            "group": "p",
            "unusable": unusable,
            "remark": "",
            "reference": "",
        }
        return encode(
            Dataset.from_list([row]),
            tokenizer or character_tokenizer("abcd"),
            Encoding(**{**PLAIN, **settings}),
            stage=stage,
            where="",
            processes=None,
        ).to_list()

    return run


def test_a_demonstration_is_prompt_response_and_eos(encoded):
    (row,) = encoded("sft", "ab", "cd")
    assert row["input_ids"] == [BOS, A, B, C, D, EOS]
    assert (row["response_start"], row["length"], row["row"]) == (3, 6, 5)


def test_every_response_is_a_demonstration(encoded):
    rows = encoded("sft", "ab", "c", "d")
    assert [row["input_ids"] for row in rows] == [[BOS, A, B, C, EOS], [BOS, A, B, D, EOS]]
    assert [row["part"] for row in rows] == [0, 1]


def test_a_pair_has_two_rows_of_tokens_and_the_length_of_the_longer(encoded):
    (row,) = encoded("reward_model", "a", "b", rejected="cd")
    assert row["chosen_ids"] == [BOS, A, B, EOS]
    assert row["rejected_ids"] == [BOS, A, C, D, EOS]
    assert row["length"] == 5


def test_a_prompt_is_dropped_if_it_is_too_long_with_bos(encoded):
    assert encoded("ppo", "abc")[0]["unusable"] == ""
    (row,) = encoded("ppo", "abcd")
    assert row["unusable"] == "prompt longer than max_prompt_length (4 tokens)"


@pytest.mark.parametrize(
    ("settings", "ids"),
    [
        ({}, [BOS, A, B, C, D, D]),
        ({"keep_eos": True}, [BOS, A, B, C, D, EOS]),
        ({"truncate": "prompt"}, [BOS, C, D, D, D, EOS]),
    ],
)
def test_the_end_that_is_cut_is_the_one_asked_for(encoded, settings, ids):
    (row,) = encoded("sft", "abc", "ddd", max_length=6, **settings)
    assert row["input_ids"] == ids
    assert row["truncated"]
    assert row["unusable"] == ""


def test_a_long_row_is_dropped_if_asked_for_or_if_nothing_would_be_left(encoded):
    def reason(*texts, **settings):
        return encoded("sft", *texts, max_length=6, **settings)[0]["unusable"]

    assert reason("abc", "ddd", truncate="drop") == "longer than max_length (6 tokens)"
    assert reason("abcd", "d") == "prompt fills max_length (6 tokens)"
    assert reason("a", "ddddd", truncate="prompt") == "response fills max_length (6 tokens)"
    assert reason("abc", "d", truncate="drop") == ""


def test_both_responses_keep_the_same_prompt_when_its_beginning_is_cut(encoded):
    (row,) = encoded("reward_model", "abcd", "a", rejected="bbb", max_length=7, truncate="prompt")
    assert row["chosen_ids"] == [BOS, C, D, A, EOS]
    assert row["rejected_ids"] == [BOS, C, D, B, B, B, EOS]


def test_a_pair_that_is_the_same_after_the_cut_is_dropped(encoded):
    (row,) = encoded("reward_model", "ab", "cca", rejected="ccb", max_length=5)
    assert row["unusable"] == "chosen and rejected are the same tokens"


def test_a_row_that_was_unusable_stays_so(encoded):
    assert encoded("sft", "a", unusable="empty prompt")[0]["unusable"] == "empty prompt"


def test_a_joined_row_gives_the_token_over_the_border_to_the_response(encoded):
    pieces = {"<pad>": 0, "<eos>": 1, "<bos>": 2, "a": 3, "b": 4, "ab": 5, "c": 6}
    backend = Tokenizer(models.BPE(vocab=pieces, merges=[("a", "b")]))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.post_processor = processors.TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", 2)])
    merging = PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="<pad>", eos_token="<eos>", bos_token="<bos>")
    (apart,) = encoded("sft", "ca", "bc", tokenizer=merging)
    (joined,) = encoded("sft", "ca", "bc", tokenizer=merging, joined=True)
    assert (apart["input_ids"], apart["response_start"]) == ([2, 6, 3, 4, 6, 1], 3)
    assert (joined["input_ids"], joined["response_start"]) == ([2, 6, 5, 6, 1], 2)
    (separate,) = encoded("sft", "c", "c", tokenizer=merging, joined=True)
    assert (separate["input_ids"], separate["response_start"]) == ([2, 6, 6, 1], 2)


def test_texts_of_a_chat_template_get_no_second_bos(encoded):
    assert encoded("ppo", "ab", special_tokens=False)[0]["prompt_ids"] == [A, B]


@pytest.mark.parametrize("long", ["prompt", "response", "rejected"])
def test_a_text_beyond_any_context_is_dropped_before_it_is_tokenised(encoded, long):
    endless = "a" * 1_000_001
    texts = {name: endless if name == long else "a" for name in ("prompt", "response", "rejected")}
    (row,) = encoded("reward_model", texts["prompt"], texts["response"], rejected=texts["rejected"])
    assert "1,000,000 characters" in row["unusable"]
    assert row["length"] < 10
    assert row["prompt"] in ("", "a")
