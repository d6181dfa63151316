"""HH-RLHF rows: verbatim, from columns or from whole transcripts."""

import pytest

from lightning_marlhf.tasks.hh_rlhf import preference
from lightning_marlhf.tasks.rows import MalformedRow, PreferenceText, UnusableRow

FIRST = "\n\nHuman: Hi. Assistant: is a word\n\nAssistant:"
PROMPT = f"{FIRST} Hello!\n\nHuman: Why?\n\nAssistant:"
COLUMNS = {"prompt": PROMPT, "response": " unused", "chosen": " Because.", "rejected": " No. "}
TRANSCRIPTS = {"chosen": f"{PROMPT} Because.", "rejected": f"{PROMPT} No. "}


@pytest.mark.parametrize("row", [COLUMNS, TRANSCRIPTS])
def test_both_forms_give_prompt_and_replies_verbatim(row):
    text = preference(row)
    assert text == PreferenceText(PROMPT, " Because.", " No. ", group=text.group)


def test_rows_of_one_dialogue_share_their_first_turn():
    start = preference(COLUMNS | {"prompt": FIRST})
    other = preference(COLUMNS | {"prompt": "\n\nHuman: Hi. Assistant: is a name\n\nAssistant:"})
    assert preference(COLUMNS).group == start.group != other.group


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (TRANSCRIPTS | {"rejected": f"{FIRST} No."}, "chosen and rejected have different prompts"),
        (TRANSCRIPTS | {"chosen": "\n\nHuman: Hi"}, "transcript without a reply of the assistant"),
        (COLUMNS | {"prompt": ""}, "empty prompt"),
    ],
)
def test_a_row_that_is_no_comparison_is_unusable(row, reason):
    with pytest.raises(UnusableRow, match=f"^{reason}$"):
        preference(row)


def test_a_missing_reply_names_the_columns_that_are_there():
    with pytest.raises(MalformedRow, match=r"^column rejected is missing: found prompt, chosen$"):
        preference({"prompt": PROMPT, "chosen": " Because."})
