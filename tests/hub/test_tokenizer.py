"""Tokenizers come back as they were saved, and are refused where padding looks like the end."""

import json

import pytest

from lightning_marlhf.hub.sources import SourceError
from lightning_marlhf.hub.tokenizer import load_tokenizer


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
