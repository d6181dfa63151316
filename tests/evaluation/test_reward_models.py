"""Means over prompts, spread over answers, differences on the same prompts."""

import math

import numpy as np
import pytest

from lightning_marlhf.evaluation.reward_models import mean_interval, summarize_scores
from lightning_marlhf.records import MeanInterval


def test_responses_to_one_prompt_count_as_their_mean():
    found = summarize_scores({"p": [1.0, 3.0], "q": [6.0]})
    assert found.mean.mean == 4.0  # of 2 and 6
    # answers 1, 3, 6 around 10/3: squares 49/9 + 1/9 + 64/9, over 2
    assert found.spread == pytest.approx(math.sqrt(114 / 9 / 2))
    assert found.quantiles["0.5"] == 3.0
    assert found.quantiles["0.25"] == 2.0
    assert found.difference is None
    assert found.num_paired == 0


def test_a_difference_is_taken_on_the_prompts_that_both_have():
    first = {"p": [1.0], "q": [2.0, 4.0], "only first": [100.0]}
    found = summarize_scores({"q": [5.0], "p": [2.0], "only ours": [-100.0]}, first)
    assert found.num_paired == 2
    assert found.difference.mean == 1.5  # 5 - 3 and 2 - 1
    assert (found.difference.low, found.difference.high) == (1.0, 2.0)
    assert summarize_scores({"r": [0.0]}, first).difference is None


def test_a_paired_difference_is_surer_than_the_means():
    prompts = np.random.default_rng(0).normal(size=50)
    first = {str(n): [x] for n, x in enumerate(prompts)}
    ours = {name: [x + 0.1] for name, [x] in first.items()}
    found = summarize_scores(ours, first)
    assert found.difference.mean == pytest.approx(0.1)
    assert found.difference.high - found.difference.low == pytest.approx(0, abs=1e-6)
    assert found.mean.high - found.mean.low > 0.3
    opposite = summarize_scores(first, ours).difference
    assert opposite.mean == pytest.approx(-0.1)


def test_an_interval_holds_the_true_mean_about_as_often_as_it_says():
    draws = np.random.default_rng(1).normal(size=(200, 40))
    ends = [mean_interval({str(n): x for n, x in enumerate(row)}, resamples=300, seed=0) for row in draws]
    held = sum(each.low <= 0 <= each.high for each in ends) / len(ends)
    assert 0.89 <= held <= 0.98


def test_one_prompt_has_no_interval():
    assert summarize_scores({"p": [1.0, 3.0]}).mean == MeanInterval(2.0, None, None)


@pytest.mark.parametrize("scores", [{}, {"p": []}, {"p": [math.nan]}, {"p": [1.0, math.inf]}])
def test_what_is_no_score_is_refused(scores):
    with pytest.raises(ValueError, match="expected finite scores"):
        summarize_scores(scores)
