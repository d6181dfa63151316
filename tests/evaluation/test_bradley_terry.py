"""Strengths of models from comparisons."""

import numpy as np
import pytest

from lightning_marlhf.evaluation.bradley_terry import Comparison, strengths


def test_two_models_differ_by_the_log_odds_of_their_win_rate():
    games = [Comparison(str(i), "x", "y", 1.0 if i < 75 else 0.0) for i in range(100)]
    first, second = strengths(games)
    assert (first.model, second.model) == ("x", "y")
    assert first.value - second.value == pytest.approx(np.log(3), abs=0.02)
    assert first.low < first.value < first.high
    assert (first.value + second.value, first.comparisons) == (pytest.approx(0), 100)


def test_a_tie_is_half_a_win_of_each():
    ties = strengths([Comparison(str(i), "x", "y", 0.5) for i in range(10)])
    assert [each.value for each in ties] == pytest.approx([0, 0], abs=1e-4)


def test_strengths_are_recovered_from_games_of_known_models():
    truth = {"weak": -0.8, "middle": 0.1, "strong": 0.7}
    generator = np.random.default_rng(0)
    games = []
    for prompt in range(600):
        for a, b in (("weak", "middle"), ("strong", "weak"), ("middle", "strong")):
            wins = generator.random() < 1 / (1 + np.exp(truth[b] - truth[a]))
            games.append(Comparison(str(prompt), a, b, float(wins)))
    found = {each.model: each for each in strengths(games)}
    assert list(found) == ["strong", "middle", "weak"]
    for model, value in truth.items():
        assert found[model].low < value < found[model].high


def test_a_model_that_wins_everything_has_a_finite_strength():
    assert strengths([Comparison(str(i), "x", "y", 1.0) for i in range(10)])[0].value < 10


def test_models_that_were_never_compared_are_refused_by_name():
    games = [Comparison("1", "x", "y", 1.0), Comparison("2", "v", "w", 1.0)]
    with pytest.raises(ValueError, match="no comparison connects v, w with x"):
        strengths(games)
