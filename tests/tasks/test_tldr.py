"""TL;DR rows: the released prompt to the last space, and what is refused."""

import pytest

from lightning_marlhf.tasks.rows import MalformedRow, UnusableRow
from lightning_marlhf.tasks.tldr import preference


def row(choice=0, summaries=(" He left.", " She left."), **info):
    post = {
        "id": "t3_1",
        "post": "We split up.\nWhat now?",
        "title": "Not in the prompt",
        "subreddit": "advice",
        "site": None,
        "article": None,
    }
    texts = [{"text": text, "policy": "sup", "note": "Ok"} for text in summaries]
    return {"info": post | info, "summaries": texts, "choice": choice, "batch": "batch1"}


def test_the_prompt_names_the_subreddit_but_not_the_title_and_ends_with_a_space():
    assert preference(row()).prompt == ("POST\nSubreddit: r/advice\nWe split up.\nWhat now?\nTL;DR: ")


def test_a_post_without_a_subreddit_has_no_line_for_it():
    assert preference(row(subreddit=None)).prompt == "POST\nWe split up.\nWhat now?\nTL;DR: "


def test_an_empty_subreddit_keeps_its_line_as_released():
    assert preference(row(subreddit="")).prompt.startswith("POST\nSubreddit: r/\nWe")


def test_a_news_article_takes_the_place_of_a_post():
    article = row(post=None, subreddit=None, site="cnn", article="Rain fell.")
    assert preference(article).prompt == "ARTICLE\nRain fell.\nTL;DR: "


@pytest.mark.parametrize(
    ("choice", "chosen", "rejected"), [(0, " He left.", " She left."), (1, " She left.", " He left.")]
)
def test_the_summary_of_the_choice_is_chosen_and_keeps_its_leading_space(choice, chosen, rejected):
    text = preference(row(choice))
    assert (text.chosen, text.rejected, text.tie) == (chosen, rejected, False)


def test_rows_share_a_post_by_its_text_alone():
    again = preference(row(id="t3_2", title="Reposted", subreddit="other", summaries=(" A", " B")))
    assert again.group == preference(row()).group
    assert preference(row(post="We met.")).group != again.group


def test_a_summary_may_be_blank_so_that_its_prompt_stays():
    assert preference(row(summaries=("", " B"))).chosen == ""


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (row(post=None), "neither post nor article"),
        (row(post=" \n"), "empty prompt"),
        (row(post=None, article=""), "empty prompt"),
    ],
)
def test_a_row_without_a_text_to_summarise_is_unusable(broken, reason):
    with pytest.raises(UnusableRow, match=f"^{reason}$"):
        preference(broken)


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (row(7), "column choice: expected 0 or 1, got 7"),
        (row(-1), "column choice: expected 0 or 1, got -1"),
        (row(True), "column choice: expected 0 or 1, got True"),
        (row(summaries=(" A", " B", " C")), "column summaries: expected two summaries, got"),
        (row(summaries=(" A", None)), "column summaries.text: expected a text, got None"),
        (row(post=3), "column info.post: expected a text, got 3"),
        ({}, "column info.post is missing: found no columns"),
        ({"info": "a text"}, "column info.post is missing: found str"),
        ({"info": {"title": "", "id": ""}}, "column info.post is missing: found title, id"),
    ],
)
def test_a_row_that_breaks_the_schema_names_the_column(broken, message):
    with pytest.raises(MalformedRow) as error:
        preference(broken)
    assert str(error.value).startswith(message)


def test_a_long_value_is_cut_in_the_message():
    with pytest.raises(MalformedRow) as error:
        preference(row("x" * 10_000))
    assert len(str(error.value)) < 120
