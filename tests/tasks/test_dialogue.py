"""Dialogues as text and as turns."""

import pytest

from lightning_marlhf.tasks.dialogue import to_text, to_turns, with_response


def turns(*contents, first="user"):
    roles = ("user", "assistant") if first == "user" else ("assistant", "user")
    return [{"role": roles[i % 2], "content": content} for i, content in enumerate(contents)]


def test_text_and_turns_are_each_other_s_inverse():
    dialogue = turns("Hi\nthere", "Hello: you.", "Why?\n\nTell me.")
    text = "\n\nHuman: Hi\nthere\n\nAssistant: Hello: you.\n\nHuman: Why?\n\nTell me.\n\nAssistant:"
    assert to_text(dialogue) == text
    assert to_turns(text) == dialogue
    system = [{"role": "system", "content": "Be nice."}]
    assert to_turns(to_text(system + dialogue)) == system + dialogue


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (" Human: Why is it so? Assistant:", turns("Why is it so?")),  # WebGPT
        ("POST\nHuman: beings are odd.\nTL;DR: ", turns("POST\nHuman: beings are odd.\nTL;DR: ")),
        ("\n\nHuman: a\n\nHuman: b\n\nAssistant:", turns("a\n\nb")),
        ("\n\nHuman: a\n\nAssistant:\n\nHuman: b\n\nAssistant:", turns("a\n\nb")),
        ("\n\nAssistant:", []),
    ],
)
def test_prompts_of_other_shapes_become_turns_that_alternate(text, expected):
    assert to_turns(text) == expected


def test_a_response_is_one_turn_of_the_assistant_even_where_it_speaks_for_the_user():
    response = " Yes.\n\nHuman: Thanks!\n\nAssistant: Bye."
    assert with_response("\n\nHuman: a\n\nAssistant:", response) == turns("a", response.strip())


def test_a_response_goes_on_with_what_the_prompt_began():
    assert with_response("\n\nHuman: a\n\nAssistant: Well,", " yes.") == turns("a", "Well, yes.")
    assert with_response("\n\nAssistant:", " yes.") == turns("yes.", first="assistant")
