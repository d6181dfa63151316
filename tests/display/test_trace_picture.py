import math
from itertools import pairwise

import pytest

from lightning_marlhf.display.style import in_style
from lightning_marlhf.display.trace_picture import ADVANTAGE, KL, VALUE, draw_trace, place_tokens
from lightning_marlhf.records import TokenTrace


def trace(tokens, *, macro_length=3, **changes):
    """Numbers that tell the position: advantages 0, 10, ... per macro action, values 0.0, 0.1, ..., KL -0.5, 0.5."""
    positions = range(len(tokens))
    fields = {
        "tokens": list(tokens),
        "macro_index": [n // macro_length for n in positions],
        "values": [n / 10 for n in positions],
        "rewards": [0.0 for _ in positions],
        "advantages": [10.0 * (n // macro_length) for n in positions],
        "kl": [n % 2 - 0.5 for n in positions],
    }
    return TokenTrace(**fields | changes)


def draw(record, **texts):
    with in_style():
        figure = draw_trace(record, **{"title": "a title", "facts": ["a fact"]} | texts)
        figure.canvas.draw()
    return figure


def panels(figure, label):
    return [axes for axes in figure.axes if axes.get_ylabel() == label]


def heights(axes):
    return [bar.get_height() for bar in axes.patches]


def test_what_is_drawn_is_what_the_record_says():
    record = trace([*"abcdefgh", "<eos>"])
    figure = draw(record)
    tokens, advantages, values, kl = figure.axes
    assert [patch.get_width() for patch in tokens.patches] == [3, 3, 7]  # "gh<eos>" is 7 wide
    assert "".join(text.get_text() for text in tokens.texts) == "abcdefgh<eos>"
    assert heights(advantages) == [0.0, 10.0, 20.0]
    assert list(values.lines[-1].get_ydata()) == record.values
    assert heights(kl) == record.kl
    # each number stands below its token: <eos> covers the characters 8 to 13, so its middle is at 10.5
    assert values.lines[-1].get_xdata()[-1] == 10.5
    assert [text.get_text() for text in figure.texts] == ["a title", "a fact"]


def test_no_number_is_lost_or_moved_where_lines_break():
    record = trace(["ab "] * 40, macro_length=5)  # 120 characters: 3 lines
    figure = draw(record)
    assert len(panels(figure, VALUE)) == 3
    drawn = [y for axes in panels(figure, VALUE) for y in axes.lines[-1].get_ydata()]
    assert drawn == record.values
    assert [h for axes in panels(figure, KL) for h in heights(axes)] == record.kl
    # a macro action that goes on in the next line has a bar in both
    bars = [heights(axes) for axes in panels(figure, ADVANTAGE)]
    assert bars == [[0.0, 10.0, 20.0], [20.0, 30.0, 40.0, 50.0], [50.0, 60.0, 70.0]]
    assert len({axes.get_ylim() for axes in panels(figure, ADVANTAGE)}) == 1


def test_neighbouring_macro_actions_differ_in_colour():
    tints = [patch.get_alpha() for patch in draw(trace("abcdef", macro_length=2)).axes[0].patches]
    assert all(a != b for a, b in pairwise(tints))


def test_a_response_of_one_token_is_one_macro_action():
    tokens, advantages, values, kl = draw(trace(["<eos>"])).axes
    assert [len(axes.patches) for axes in (tokens, advantages, kl)] == [1, 1, 1]
    assert list(values.lines[-1].get_ydata()) == [0.0]


def test_of_512_tokens_the_first_lines_are_drawn_and_the_picture_says_so():
    record = trace(["word "] * 512, macro_length=10)
    figure = draw(record)
    drawn = [y for axes in panels(figure, VALUE) for y in axes.lines[-1].get_ydata()]
    assert len(drawn) == 45  # 5 lines of 9 words: a line has room for 46 characters
    assert drawn == record.values[:45]
    assert figure.texts[1].get_text() == "a fact   the first 45 of 512 tokens"
    assert max(figure.get_size_inches()) < 20


@pytest.mark.parametrize("nasty", ["$\\frac{$", "\x00\x1b[31m", "\u202eabc", "日本", "", "<b>&"])
def test_hostile_text_is_drawn_as_text(nasty):
    figure = draw(trace([nasty, "\n", "a"]), title=nasty, facts=[nasty])
    shown = "".join(text.get_text() for text in figure.axes[0].texts)
    assert shown.endswith("⏎a")
    assert len(shown) == max(len(nasty), 1) + 2
    assert not {"\x00", "\x1b", "\u202e"} & set(shown)


def test_numbers_that_are_missing_do_no_harm():
    nothing = [math.nan] * 3
    draw(trace("abc", values=nothing, advantages=nothing, kl=nothing))


def test_lines_are_about_equally_long_and_hold_every_token():
    lines = place_tokens([*"x" * 65, "<eos>"])
    assert [sum(cell.width for cell in line) for line in lines] == [35, 35]
    assert [cell.position for line in lines for cell in line] == list(range(66))
    assert lines[1][0].left == 0


def test_a_short_response_has_one_line_and_an_empty_one_an_empty_line():
    assert [cell.left for cell in place_tokens(["ab", "c"])[0]] == [0, 2]
    assert place_tokens([]) == [[]]


def test_words_are_not_split_and_long_responses_are_cut():
    lines = place_tokens(["word "] * 200)
    assert len(lines) == 5
    assert {cell.text for line in lines for cell in line} == {"word "}


def test_every_token_can_be_seen_and_drawn():
    texts = [cell.text for cell in place_tokens(["\n", "", "日", "$", "x" * 100])[0]]
    assert texts == ["⏎", "□", "□", "$", "x" * 46] or texts == ["⏎", "□", "□", "$"]


def test_words_that_do_not_fill_lines_evenly_leave_no_line_with_one_word():
    lines = place_tokens(["ab "] * 40)  # 120 characters, of which 15 words fit into a line
    assert [len(line) for line in lines] == [14, 14, 12]
