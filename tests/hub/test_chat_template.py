"""Chat templates: what they render, what they refuse, and which token ends a response."""

import pytest

from lightning_marlhf.hub import chat_template
from lightning_marlhf.hub.end_tokens import end_of_turn
from lightning_marlhf.hub.sources import SourceError
from tests.published import END, GEMMA_TEMPLATE, byte_tokenizer

USER = {"role": "user", "content": "what is it?"}


def test_a_dialogue_is_written_as_the_template_says():
    tokenizer = byte_tokenizer(template=GEMMA_TEMPLATE)
    text = chat_template.render(tokenizer, [USER, {"role": "assistant", "content": " a cat."}])
    assert text == ("<bos><start_of_turn>user\nwhat is it?<end_of_turn>\n<start_of_turn>model\na cat.<end_of_turn>\n")
    asked = chat_template.render(tokenizer, [USER], response_follows=True)
    assert asked.endswith("<end_of_turn>\n<start_of_turn>model\n")


def test_a_refusal_of_the_template_is_one_line():
    tokenizer = byte_tokenizer(template=GEMMA_TEMPLATE)
    with pytest.raises(SourceError, match="refuses this dialogue: System role not supported"):
        chat_template.render(tokenizer, [{"role": "system", "content": "Be nice."}, USER])


def test_a_tokenizer_without_a_template_is_refused():
    with pytest.raises(SourceError, match="has no chat template"):
        chat_template.render(byte_tokenizer(), [USER])


@pytest.mark.parametrize(
    ("end", "found"), [("<end_of_turn>\n", END), (" <end_of_turn>", END), ("", None), ("\nHuman:", None)]
)
def test_the_end_of_a_response_is_found_where_it_is_a_special_token(end, found):
    template = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}" + end + "{% endfor %}"
    assert end_of_turn(byte_tokenizer(template=template)) == found


def test_the_end_of_a_response_is_found_where_the_template_wants_a_system_turn():
    template = (
        "{% if messages[0]['role'] != 'system' %}{{ raise_exception('no system') }}{% endif %}"
        "{% for m in messages %}{{ m['content'] }}<end_of_turn>{% endfor %}"
    )
    assert end_of_turn(byte_tokenizer(template=template)) == END
