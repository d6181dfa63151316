"""Tokenizers come back as they were saved, are refused where padding looks like EOS, and put one BOS and one EOS."""

import json
import re

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import ByT5Tokenizer, PreTrainedTokenizerFast

from lightning_marlhf.hub.end_tokens import end_tokens
from lightning_marlhf.hub.sources import SourceError
from lightning_marlhf.hub.tokenizer import encode_pairs, encode_prompts, load_tokenizer
from tests.published import BOS, END, EOS, GEMMA_TEMPLATE, byte_tokenizer, spaced_tokenizer


def test_a_tokenizer_comes_back(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    again = load_tokenizer(str(tmp_path))
    assert again("a cat.").input_ids == tokenizer("a cat.").input_ids
    assert again.pad_token_id == tokenizer.pad_token_id


def save(folder, tokenizer, **changes):
    """Write a tokenizer with other settings; None leaves one out."""
    tokenizer.save_pretrained(folder)
    path = folder / "tokenizer_config.json"
    settings = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({name: x for name, x in settings.items() if x is not None}))
    return str(folder)


def without_pad(*unused, bos="<eos>", unknown="<eos>", text=(), template=None):
    """Build a byte-level tokenizer as GPT-2's, whose one special token is everything, with some added tokens."""
    names = ["<eos>", *unused, *text, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    backend = Tokenizer(models.BPE({name: i for i, name in enumerate(dict.fromkeys(names))}, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([*unused, bos, unknown])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<eos>", bos_token=bos, unk_token=unknown)
    tokenizer.chat_template = template
    return tokenizer


@pytest.mark.parametrize("own", ["<eos>", None])
@pytest.mark.parametrize(
    ("tokens", "settings", "found"),
    [
        (["<|reserved_special_token_0|>", "<|finetune_right_pad_id|>"], {}, "<|finetune_right_pad_id|>"),
        (["<|im_start|>", "[PAD]"], {}, "[PAD]"),
        (["<|fim_pad|>"], {}, "<|fim_pad|>"),
        ([], {"unknown": "<unk>"}, "<unk>"),  # all characters are bytes: no text has it
    ],
)
def test_an_unused_token_becomes_the_pad_token_where_there_is_none(tmp_path, own, tokens, settings, found):
    tokenizer = without_pad(*tokens, **settings)
    folder = save(tmp_path / "published", tokenizer, pad_token=own)
    loaded = load_tokenizer(folder)
    assert loaded.pad_token == found
    assert loaded.pad_token_id == tokenizer.get_vocab()[found]
    assert len(loaded) == len(tokenizer)
    assert loaded.decode([loaded.pad_token_id], skip_special_tokens=True) == ""
    loaded.save_pretrained(tmp_path / "again")
    assert load_tokenizer(str(tmp_path / "again")).pad_token == found


@pytest.mark.parametrize("own", ["<eos>", None])
def test_a_tokenizer_without_an_unused_token_is_refused_with_what_to_do(tmp_path, own):
    folder = save(tmp_path, without_pad(), pad_token=own)
    with pytest.raises(SourceError, match=r"set pad_token to .* or to <pad>") as raised:
        load_tokenizer(folder)
    assert ("'<eos>', which ends responses" if own else "has no pad token") in str(raised.value)
    assert "\n" not in str(raised.value)
    folder = save(tmp_path, without_pad("<file_sep>"), pad_token=own)  # as SmolLM2's: not known
    with pytest.raises(SourceError, match="such as <file_sep>"):
        load_tokenizer(folder)
    assert load_tokenizer(folder, pad_token="<file_sep>").pad_token == "<file_sep>"


def test_the_pad_token_that_is_asked_for_is_taken(tmp_path):
    folder = save(tmp_path, without_pad("<|pad|>", "<empty_output>"))
    assert load_tokenizer(folder, pad_token="<empty_output>").pad_token == "<empty_output>"


def test_a_pad_token_is_added_only_if_asked_for_and_what_that_costs_is_said(tmp_path, caplog):
    tokenizer = without_pad()
    folder = save(tmp_path, tokenizer)
    loaded = load_tokenizer(folder, pad_token="<pad>")
    assert (loaded.pad_token, loaded.pad_token_id) == ("<pad>", len(tokenizer))
    assert "cannot be sharded" in caplog.text


@pytest.mark.parametrize(
    ("wanted", "state"),
    [
        ("<eos>", "in use"),
        ("<|im_start|>", "in use"),  # by the template
        ("<|im_end|>", "in use"),
        ("a", "in use"),
        ("<padd>", "no token"),
    ],
)
def test_a_pad_token_that_is_in_use_or_unknown_is_refused(tmp_path, wanted, state):
    template = "{% for m in messages %}<|im_start|>{{ m['content'] }}<|im_end|>{% endfor %}"
    tokenizer = without_pad("<|im_start|>", "<|im_end|>", "[PAD]", template=template)
    folder = save(tmp_path, tokenizer)
    with pytest.raises(SourceError, match=rf"{re.escape(wanted)}' is {state} .*such as \[PAD\]"):
        load_tokenizer(folder, pad_token=wanted)


def test_an_unknown_token_that_texts_get_is_no_pad_token(tokenizer, tmp_path):
    assert tokenizer("\u00fc").input_ids[-1] == tokenizer.unk_token_id
    with pytest.raises(SourceError, match="<unk>' is in use"):
        load_tokenizer(save(tmp_path, tokenizer), pad_token="<unk>")


def test_a_tokenizer_without_eos_is_refused(tokenizer, tmp_path):
    with pytest.raises(SourceError, match="has no EOS token"):
        load_tokenizer(save(tmp_path, tokenizer, eos_token=None))


@pytest.mark.parametrize("pad", ["<eos>", None])
def test_padding_may_look_like_the_end_where_nothing_is_learnt(tokenizer, tmp_path, pad):
    loaded = load_tokenizer(save(tmp_path, tokenizer, pad_token=pad), for_training=False)
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
    ("response", "end"),
    [
        (" a cat.", EOS),
        (" a cat.<eos>", EOS),
        (" a cat.<end_of_turn>", END),
        (" a cat.<end_of_turn>\n", END),
        (" a cat.<end_of_turn><eos>", EOS),
        ("", EOS),
    ],
)
def test_a_response_has_one_end(published, joined, response, end):
    (pair,) = encode_pairs(published, ["<bos>it is:"], [response], joined=joined)
    assert pair.prompt == [BOS, *ids_of(published, "it is:")]
    assert pair.response[-1] == end
    assert pair.response.count(EOS) == (end == EOS)
    assert pair.response[: len(ids_of(published, response))] == ids_of(published, response.rstrip())


def test_a_response_that_was_cut_off_has_no_end(published, joined):
    cut, ended = encode_pairs(published, ["p"] * 2, [" it"] * 2, ended=[False, True], joined=joined)
    assert [*cut.response, EOS] == ended.response
    assert EOS not in cut.response


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
    assert apart[0].response == [*(byte + 3 for byte in " ä".encode()), bytes_.eos_token_id]


@pytest.mark.parametrize("response", [" it is", "it is", "    return it", "\nit", "", "ü"])
def test_a_response_has_the_spaces_of_its_text_and_no_other(joined, response):
    tokenizer = spaced_tokenizer()
    (pair,) = encode_pairs(tokenizer, ["Assistant:"], [response], joined=joined)
    text = tokenizer.decode([*pair.prompt, *pair.response], skip_special_tokens=True)
    assert text == f"Assistant:{response}"


def test_an_encoder_s_separator_closes_every_row():
    names = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "it", "is"]
    backend = Tokenizer(models.WordLevel({name: i for i, name in enumerate(names)}, "[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    encoder = PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]")
    pairs = encode_pairs(encoder, ["it"] * 2, [" is"] * 2, ended=[True, False])
    assert [pair.prompt + pair.response for pair in pairs] == [[1, 4, 5, 2]] * 2
