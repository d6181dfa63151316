"""Tokenizers come back as they were saved, are refused where padding looks like EOS, and put one BOS and one EOS."""

import json

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import ByT5Tokenizer, PreTrainedTokenizerFast

from lightning_marlhf.hub.sources import SourceError
from lightning_marlhf.hub.tokenizer import (
    encode_pairs,
    encode_prompts,
    end_tokens,
    load_tokenizer,
)
from tests.published import BOS, END, EOS, GEMMA_TEMPLATE, byte_tokenizer, spaced_tokenizer


def test_a_tokenizer_comes_back(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    again = load_tokenizer(str(tmp_path))
    assert again("a cat.").input_ids == tokenizer("a cat.").input_ids
    assert again.pad_token_id == tokenizer.pad_token_id


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"pad_token": "<eos>"},
            "has its EOS '<eos>' as pad token.*Fix: tokenizer.add_special_tokens",
        ),
        ({"pad_token": None}, "has no pad token.*Fix: tokenizer.add_special_tokens"),
        ({"eos_token": None}, "has no EOS token"),
    ],
)
def test_a_tokenizer_that_cannot_tell_padding_from_the_end_is_refused(
    tokenizer, tmp_path, change, message
):
    tokenizer.save_pretrained(tmp_path)
    path = tmp_path / "tokenizer_config.json"
    settings = json.loads(path.read_text()) | change
    path.write_text(
        json.dumps({key: value for key, value in settings.items() if value is not None})
    )
    with pytest.raises(SourceError, match=message) as raised:
        load_tokenizer(str(tmp_path))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("pad", ["<eos>", None])
def test_padding_may_look_like_the_end_where_nothing_is_learnt(tokenizer, tmp_path, pad):
    tokenizer.save_pretrained(tmp_path)
    path = tmp_path / "tokenizer_config.json"
    settings = json.loads(path.read_text()) | {"pad_token": pad}
    path.write_text(
        json.dumps({key: value for key, value in settings.items() if value is not None})
    )
    loaded = load_tokenizer(str(tmp_path), for_training=False)
    assert loaded.pad_token_id == loaded.eos_token_id == tokenizer.eos_token_id


def ids_of(tokenizer, text):
    return tokenizer(text, add_special_tokens=False).input_ids


@pytest.fixture(params=[False, True], ids=["as usual", "adds EOS"])
def published(request):
    """A tokenizer that puts BOS before every text, and may put EOS behind it."""
    return byte_tokenizer(template=GEMMA_TEMPLATE, adds_eos=request.param)


@pytest.fixture(params=[False, True], ids=["apart", "joined"])
def joined(request):
    return request.param


def test_a_prompt_has_one_bos_and_no_eos(published):
    plain = [BOS, *ids_of(published, "it is")]
    assert encode_prompts(published, ["it is", "<bos>it is"]) == [plain, plain]
    assert encode_prompts(published, ["it is"], special_tokens=False) == [plain[1:]]


@pytest.mark.parametrize(
    ("answer", "end"),
    [
        (" a cat.", EOS),
        (" a cat.<eos>", EOS),
        (" a cat.<end_of_turn>", END),
        (" a cat.<end_of_turn>\n", END),
        (" a cat.<end_of_turn><eos>", EOS),
        ("", EOS),
    ],
)
def test_an_answer_has_one_end(published, joined, answer, end):
    (pair,) = encode_pairs(published, ["<bos>it is:"], [answer], joined=joined)
    assert pair.prompt == [BOS, *ids_of(published, "it is:")]
    assert pair.answer[-1] == end
    assert pair.answer.count(EOS) == (end == EOS)
    assert pair.answer[: len(ids_of(published, answer))] == ids_of(published, answer.rstrip())


def test_an_answer_that_was_cut_off_has_no_end(published, joined):
    cut, ended = encode_pairs(published, ["p"] * 2, [" it"] * 2, ended=[False, True], joined=joined)
    assert [*cut.answer, EOS] == ended.answer
    assert EOS not in cut.answer


def test_the_template_s_end_of_turn_is_an_end():
    assert end_tokens(byte_tokenizer(template=GEMMA_TEMPLATE)) == [EOS, END]
    assert end_tokens(byte_tokenizer()) == [EOS]
    refusing = "{{ raise_exception('never') }}"
    assert end_tokens(byte_tokenizer(template=refusing)) == [EOS]


def test_a_tokenizer_that_knows_no_positions_gives_the_same_tokens_joined_and_apart():
    bytes_ = ByT5Tokenizer()
    apart = encode_pairs(bytes_, ["it is"], [" ä"])
    joined = encode_pairs(bytes_, ["it is"], [" ä"], joined=True)
    assert apart == joined
    assert apart[0].prompt == [byte + 3 for byte in b"it is"]
    assert apart[0].answer == [*(byte + 3 for byte in " ä".encode()), bytes_.eos_token_id]


@pytest.mark.parametrize("answer", [" it is", "it is", "    return it", "\nit", "", "ü"])
def test_an_answer_has_the_spaces_of_its_text_and_no_other(joined, answer):
    tokenizer = spaced_tokenizer()
    (pair,) = encode_pairs(tokenizer, ["Assistant:"], [answer], joined=joined)
    text = tokenizer.decode([*pair.prompt, *pair.answer], skip_special_tokens=True)
    assert text == f"Assistant:{answer}"


def test_an_encoder_s_separator_closes_every_row():
    names = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "it", "is"]
    backend = Tokenizer(models.WordLevel({name: i for i, name in enumerate(names)}, "[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    encoder = PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]"
    )
    pairs = encode_pairs(encoder, ["it"] * 2, [" is"] * 2, ended=[True, False])
    assert [pair.prompt + pair.answer for pair in pairs] == [[1, 4, 5, 2]] * 2
