import json
import unicodedata

import pytest

from lightning_marlhf.display.text import printable, printable_json

# Clear the screen, by two ways to say it; set the title; hide; reorder; break a line where no newline is; half an emoji
NASTY = "a\x1b[2J\x9b2J\x1b]0;t\x07\x7f\u200b\u202e\u2066\u2028\u2029\x85\x0c\ud800\U000e0041"


def test_characters_that_hide_or_reorder_text_are_replaced():
    assert printable("a\x00b\u202ec\r\nd\te\ud800") == "a\ufffdb\ufffdc\nd\te\ufffd"


@pytest.mark.parametrize("show", [printable, printable_json])
def test_nothing_that_is_shown_steers_a_terminal(show):
    shown = show(NASTY)
    unsafe = {"Cc", "Cf", "Cs", "Zl", "Zp"}
    assert not unsafe & {unicodedata.category(c) for c in shown}


def test_what_does_not_stay_is_shown_by_symbols():
    assert printable("a\n\tb\r", keep="") == "a\u23ce\u21e5b\u240d"
    assert printable("a\n\tb\rc", keep="\n") == "a\n\u21e5b\nc"


def test_json_that_is_shown_reads_back_as_it_was():
    value = {"text": NASTY + "\U0001f600 \u00e9 \u65e5", NASTY: [1, None]}
    assert json.loads(printable_json(value)) == value
    assert "\U0001f600 \u00e9 \u65e5" in printable_json(value)
