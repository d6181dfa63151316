import pytest

from lightning_marlhf.config.suggest import did_you_mean, nearest

SETTINGS = ["max_steps", "max_epochs", "clip_range", "lr", "lam", "gamma", "coefficient"]


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("Max-Steps", "max_steps"),
        ("maxsteps", "max_steps"),
        ("coeficient", "coefficient"),
        ("clip", "clip_range"),
        ("gama", "gamma"),
        ("lma", "lam"),
    ],
)
def test_a_misspelt_or_shortened_word_finds_the_right_one(word, meant):
    assert nearest(word, SETTINGS) == meant


@pytest.mark.parametrize("word", ["banana", "steps_total", "ratio", "margin"])
def test_nothing_is_suggested_where_nothing_is_near(word):
    assert nearest(word, SETTINGS) is None
    assert did_you_mean(word, SETTINGS) == ""
