"""The prompt formats of the data sets, for typed texts."""

import pytest

from lightning_marlhf.tasks.prompts import READERS, frame

EXPECTED = {  # byte for byte as the released code writes them; apps: as the data set's authors do
    "hh_rlhf": "\n\nHuman: Why so?\n\nAssistant:",
    "tldr": "POST\nWhy so?\nTL;DR: ",
    "webgpt": " Human: Why so? Assistant:",
    "apps": "\nQUESTION:\nWhy so?\nUse Standard Input format\nANSWER:\n",
}


def test_every_data_set_has_a_frame():
    assert set(READERS) == set(EXPECTED)


@pytest.mark.parametrize("data", EXPECTED)
def test_a_text_is_framed_once(data):
    assert frame("Why so?", data) == EXPECTED[data]
    assert frame(EXPECTED[data], data) == EXPECTED[data]


def test_a_dialogue_of_several_turns_stays_as_it_is():
    dialogue = "\n\nHuman: a\n\nAssistant: b\n\nHuman: c\n\nAssistant:"
    assert frame(dialogue, "hh_rlhf") == dialogue
