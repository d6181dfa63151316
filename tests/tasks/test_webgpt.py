"""WebGPT rows: the better score is chosen, ties are told, brackets go."""

import pytest

from lightning_marlhf.tasks.rows import MalformedRow, UnusableRow
from lightning_marlhf.tasks.webgpt import preference

WITH_BRACKETS = "Cats (Felis [catus) purr] [1]. It soothes[2, 3] (4), f[i] and [5,6]"


def row(score_0=1.0, score_1=-1.0, question="Why do cats purr?", answer_0="They like it."):
    return {
        "question": {"dataset": "eli5", "full_text": question, "id": "1"},
        "answer_0": answer_0,
        "answer_1": "Nobody knows.",
        "score_0": score_0,
        "score_1": score_1,
    }


def test_the_prompt_is_one_line_that_begins_with_a_space():
    assert preference(row()).prompt == " Human: Why do cats purr? Assistant:"


@pytest.mark.parametrize(
    ("scores", "chosen", "tie"),
    [
        ((0.5, -0.5), " They like it.", False),
        ((-0.5, 0.5), " Nobody knows.", False),
        ((0.0, 0.0), " They like it.", True),  # the first, as released
        ((0, 1), " Nobody knows.", False),  # integers, as JSON may hold them
    ],
)
def test_the_response_of_the_higher_score_is_chosen_and_a_tie_is_told(scores, chosen, tie):
    text = preference(row(*scores))
    assert (text.chosen, text.tie) == (chosen, tie)
    assert {text.chosen, text.rejected} == {" They like it.", " Nobody knows."}


def test_only_citations_are_removed():
    text = preference(row(answer_0=WITH_BRACKETS))
    assert text.chosen == " Cats (Felis [catus) purr]. It soothes (4), f[i] and"


def test_all_brackets_go_as_released_whichever_closes_them():
    text = preference(row(answer_0=WITH_BRACKETS), brackets="all")
    assert text.chosen == " Cats purr]. It soothes, f and"


def test_brackets_over_two_lines_stay_as_released():
    text = preference(row(answer_0="See (the\nbook)."), brackets="all")
    assert text.chosen == " See (the\nbook)."


def test_rows_of_one_question_share_it():
    assert preference(row()).group == preference(row(answer_0="For joy.")).group
    assert preference(row(question="Why?")).group != preference(row()).group


def test_a_response_of_citations_alone_is_blank():
    assert preference(row(answer_0=" [1]")).chosen == " "


@pytest.mark.parametrize("score", ["1.0", True, None, float("nan")])
def test_a_score_that_is_no_number_is_named(score):
    with pytest.raises(MalformedRow, match=r"^column score_0: expected a number, got "):
        preference(row(score))


def test_a_row_without_a_question_is_unusable():
    with pytest.raises(UnusableRow, match=r"^empty prompt$"):
        preference(row(question=" "))
