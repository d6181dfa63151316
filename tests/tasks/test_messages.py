"""Chat messages in all the forms in which data sets store them: read, or refused by a reason that counts rows."""

import pytest

from lightning_marlhf.tasks.messages import read_messages, split_dialogue
from lightning_marlhf.tasks.rows import UnusableRow

SYSTEM = {"role": "system", "content": "Be brief."}
ASK, TELL = {"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}
MORE, OTHER = {"role": "user", "content": "Sure?"}, {"role": "assistant", "content": "No."}


@pytest.mark.parametrize(
    "message",
    [
        ASK,
        {"from": "human", "value": "Why?"},
        {"author": "prompter", "text": "Why?"},
        {"role": "User", "content": "Why?", "tool_calls": None, "from": None, "value": None},
        {"role": None, "content": None, "from": "human", "value": "Why?"},
        {"role": "user", "content": [{"type": "text", "text": "Wh"}, {"type": "text", "text": "y?"}]},
        {"role": "user", "content": ["Wh", {"type": "input_text", "text": "y?", "image": None}]},
    ],
)
def test_a_message_is_read_whatever_its_keys_are_called_and_its_texts_are_joined(message):
    assert read_messages([message], "prompt") == [ASK]


def test_messages_may_be_stored_key_by_key():
    columns = {"role": ["user", "assistant"], "content": ["Why?", "So."]}
    assert read_messages(columns, "prompt") == [ASK, TELL]


@pytest.mark.parametrize(
    ("message", "why"),
    [
        ({"role": "user", "content": None}, "content of a message is null"),
        ({"role": "assistant", "content": " \n"}, r"blank \(assistant\)"),
        ({"role": "user", "content": []}, "blank"),
        ({"role": "user", "content": 5}, "is of type int"),
        ({"role": "narrator", "content": "x"}, "role narrator is unknown"),
        ({"role": "tool", "content": "x"}, "role tool is unknown"),
        ({"content": "x"}, "has content: expected role and content, or from and value"),
        ({"speaker": "user", "utterance": "x"}, "has speaker, utterance: expected role and content"),
        ({"role": "assistant", "content": None, "tool_calls": [{"id": 1}]}, "calls a tool"),
        ({"role": "user", "content": [{"type": "image_url", "image_url": {}}]}, "type image_url"),
        ({"role": "user", "content": [{"type": "text", "text": None}]}, "type text"),
        ("Why?", "a message is of type str"),
    ],
)
def test_what_is_no_text_of_a_known_speaker_makes_the_row_unusable(message, why):
    with pytest.raises(UnusableRow, match=why):
        read_messages([ASK, TELL, message], "prompt")


@pytest.mark.parametrize(("found", "why"), [(None, "null"), ([], "no messages"), (3, "of type int")])
def test_a_column_without_messages_makes_the_row_unusable(found, why):
    with pytest.raises(UnusableRow, match=why):
        read_messages(found, "prompt")


def split(row, *responses):
    return split_dialogue(row, prompt="prompt", chosen="chosen", responses=responses)


BOTH = ("chosen", "rejected")


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "Why?", "chosen": "So.", "rejected": "No."},
        {"prompt": [ASK], "chosen": [TELL], "rejected": [OTHER]},
        {"prompt": "Why?", "chosen": [ASK, TELL], "rejected": [ASK, OTHER]},
        {"chosen": [ASK, TELL], "rejected": [ASK, OTHER]},
        {"prompt": None, "chosen": [ASK, TELL], "rejected": [ASK, OTHER]},
        {"prompt": [ASK, TELL], "chosen": [TELL], "rejected": [OTHER]},
        {"prompt": [ASK, TELL], "chosen": [ASK, TELL], "rejected": [ASK, OTHER]},
        {"prompt": [ASK, OTHER], "chosen": "So.", "rejected": "No."},
        {"chosen": "\n\nHuman: Why?\n\nAssistant: So.", "rejected": "\n\nHuman: Why?\n\nAssistant: No."},
    ],
)
def test_prompt_and_responses_are_found_in_every_layout(row):
    assert split(row, *BOTH) == ([ASK], ["So.", "No."])


def test_the_longer_of_a_prompt_and_what_the_responses_repeat_of_it_is_the_prompt():
    longer = [ASK, TELL, MORE]
    row = {"prompt": "Why?", "chosen": [*longer, TELL], "rejected": [*longer, OTHER]}
    assert split(row, *BOTH) == (longer, ["So.", "No."])
    row = {"prompt": [SYSTEM, ASK], "chosen": [ASK, TELL], "rejected": [ASK, OTHER]}
    assert split(row, *BOTH) == ([SYSTEM, ASK], ["So.", "No."])


@pytest.mark.parametrize("name", ["messages", "conversations", "prompt"])
def test_messages_alone_are_a_demonstration_and_without_their_response_a_prompt(name):
    row = {name: [ASK, TELL, MORE, OTHER]}
    assert split(row, "chosen") == ([ASK, TELL, MORE], ["No."])
    assert split(row) == ([ASK, TELL, MORE], [])
    assert split({name: [ASK, TELL, MORE]}) == ([ASK, TELL, MORE], [])


def test_a_prompt_for_the_policy_is_found_in_the_chosen_dialogue():
    assert split({"chosen": [ASK, TELL], "rejected": [ASK, OTHER]}) == ([ASK], [])


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ({"chosen": [ASK, TELL], "rejected": [MORE, OTHER]}, "different prompts"),
        ({"chosen": [ASK, TELL, MORE], "rejected": [ASK, OTHER]}, "chosen does not end with"),
        ({"prompt": [ASK, TELL], "chosen": "x", "rejected": "y"}, "ends with a message of the"),
        ({"prompt": "Sure?", "chosen": [ASK, TELL], "rejected": "No."}, "another dialogue"),
        ({"prompt": [TELL], "chosen": [TELL], "rejected": [OTHER]}, "ends with a message"),
        ({"prompt": "Why? It is so.", "chosen": "It is so.", "rejected": "No."}, "prompt ends with its response"),
    ],
)
def test_prompt_and_responses_that_do_not_belong_together_make_the_row_unusable(row, why):
    with pytest.raises(UnusableRow, match=why):
        split(row, *BOTH)


def test_a_text_for_the_policy_is_no_prompt_with_its_response_behind_it():
    with pytest.raises(UnusableRow, match="ends with its response"):
        split({"prompt": "Why? It is so.", "chosen": "It is so."})
