"""Where tokens end in the text, from the ids that were sampled."""

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from lightning_marlhf.rollout.termination import ends_of_pieces, token_ends
from tests.rollout.pieces import make_tokenizer, rollout


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        (["my", " boss", "."], [2, 7, 8]),
        (["no. ", "  ", "yes"], [3, 6, 9]),  # a full stop keeps its blank; blanks alone are counted
        (["a", "", "b"], [1, 1, 2]),
        ([], []),
    ],
)
def test_pieces_end_with_their_last_visible_character(pieces, expected):
    assert ends_of_pieces(pieces) == expected


def test_the_ids_that_were_sampled_count_not_those_that_the_text_would_get():
    tokenizer = make_tokenizer(["ab", "a", "b", " c"], decoders.Fuse())
    responses = rollout(tokenizer, ["a", "b", " c"], ["ab", " c", "a", "b", "ab"])
    assert responses.texts == ("ab c", "ab cabab")
    assert token_ends(responses, tokenizer) == [[1, 2, 4], [2, 4, 5, 6, 8]]


def test_a_response_without_eos_keeps_its_last_token():
    tokenizer = make_tokenizer(["a", "b"], decoders.Fuse())
    assert token_ends(rollout(tokenizer, ["a", "b"]), tokenizer) == [[1, 2]]
    assert token_ends(rollout(tokenizer, ["a", "b"], ended=False), tokenizer) == [[1, 2]]
    assert token_ends(rollout(tokenizer, []), tokenizer) == [[]]


def test_special_tokens_amid_a_response_end_where_they_stand_for_the_text_leaves_them_out():
    tokenizer = make_tokenizer(["a", "b"])
    responses = rollout(tokenizer, ["a", "<pad>", "b"])
    assert responses.texts == ("ab",)
    assert token_ends(responses, tokenizer) == [[1, 1, 2]]


def test_the_tokens_of_one_character_all_end_with_it():
    smile = ["<0xF0>", "<0x9F>", "<0x98>", "<0x80>"]  # the bytes of 😀 in UTF-8
    tokenizer = make_tokenizer(["hi", "!", *smile], decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()]))
    responses = rollout(tokenizer, ["hi", *smile, "!"], ["hi", "!"])
    assert responses.texts == ("hi😀!", "hi!")
    assert token_ends(responses, tokenizer) == [[2, 3, 3, 3, 3, 4], [2, 3]]


def test_bytes_that_never_become_a_character_end_with_the_marks_that_stand_for_them():
    tokenizer = make_tokenizer(["a", "<0xF0>", "<0x9F>"], decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()]))
    responses = rollout(tokenizer, ["a", "<0xF0>", "<0x9F>", "a"])
    assert responses.texts == ("a��a",)
    assert token_ends(responses, tokenizer) == [[1, 2, 3, 4]]


def test_blanks_that_the_decoder_adds_or_drops_are_where_the_text_has_them():
    words = make_tokenizer(["my", "boss", "."], decoders.WordPiece(cleanup=False))
    assert token_ends(rollout(words, ["my", "boss", "."]), words) == [[2, 7, 9]]  # "my boss ."
    metaspace = make_tokenizer(["▁my", "▁bo", "ss"], decoders.Metaspace())
    assert token_ends(rollout(metaspace, ["▁my", "▁bo", "ss"]), metaspace) == [[2, 5, 7]]  # "my boss"


def test_where_the_text_s_own_tokens_were_sampled_ends_are_the_tokenizer_s_offsets():
    text = "No: “naïve” 😀😀 plans.\n\n  Yes, 日本 and Zürich!"
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=270,
        special_tokens=["<pad>", "<eos>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator([text], trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="<pad>", eos_token="<eos>")
    encoding = backend.encode(text)
    assert len(set(encoding.offsets)) < len(encoding.offsets)  # some characters have several tokens
    visible = [start + (len(text[start:end].rstrip()) or end - start) for start, end in encoding.offsets]
    assert token_ends(rollout(tokenizer, encoding.tokens), tokenizer) == [visible]
