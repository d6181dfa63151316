"""A rollout as a terminal shows it."""

import io

from rich.console import Console

from lightning_marlhf.display.rollout_text import COLOURS, NUMBERS, response_text, show_rollout, token_lines
from lightning_marlhf.records import Completion
from tests.rollout_rows import completion


def shown(row: Completion, *, plain: bool, width: int = 80) -> str:
    colours = None if plain else "truecolor"
    console = Console(file=io.StringIO(), force_terminal=not plain, color_system=colours, width=width)
    show_rollout(row, number=0, console=console, plain=plain)
    return console.file.getvalue()


def test_plain_text_has_bars_between_macro_actions_and_numbers_below_tokens():
    lines = shown(completion(), plain=True).splitlines()
    assert "gold 2.5, KL 0.1 nats, 4 tokens, 2 macro actions, update 40" in lines
    assert "hel|" in lines
    tokens = next(line for line in lines if line.startswith("tokens"))
    assert tokens.split() == ["tokens", "he", "l|", "⏎", "<eos>"]
    values = next(line for line in lines if line.startswith("values"))
    assert values.split() == ["values", "0.50", "0.25", "0.00", "-1.50"]
    assert all(any(line.startswith(name) for line in lines) for name in NUMBERS)


def test_numbers_stand_under_their_tokens():
    lines = shown(completion(), plain=True).splitlines()
    tokens = next(line for line in lines if line.startswith("tokens"))
    values = next(line for line in lines if line.startswith("values"))
    assert values.index("0.50") + 4 == tokens.index("he") + 2
    assert values.index("-1.50") + 5 == tokens.index("<eos>") + 5


def test_macro_actions_alternate_in_colour():
    text = response_text(completion(), plain=False)
    assert [str(span.style) for span in text.spans] == [COLOURS[i] for i in (0, 0, 1, 1)]


def test_a_long_response_is_broken_into_lines_of_whole_tokens():
    lines = [str(line) for line in token_lines(completion(), width=26, plain=True)]
    assert sum(line.startswith("tokens") for line in lines) == 2
    assert max(map(len, lines)) <= 26


def test_control_characters_of_a_response_do_not_reach_the_terminal():
    row = completion(prompt="\x1b[2J", response="\x1b]0;x\x07", trace=None)
    text = shown(row, plain=True)
    assert "\x1b" not in text
    assert "\x07" not in text


def test_a_row_without_a_trace_is_shown_as_text():
    assert "hel" in shown(completion(trace=None), plain=True)


def test_a_row_of_a_model_without_a_run_names_no_update():
    assert "update" not in shown(completion(step=None), plain=True)
    assert "4 tokens, 2 macro actions\n" in shown(completion(step=None), plain=True)
