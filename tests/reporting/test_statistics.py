import math
import random

import pandas as pd
import pytest

from lightning_marlhf.reporting.statistics import (
    KL,
    mean_over_seeds,
    measures,
    median_interval,
    paired_differences,
    prompt_values,
    score_measures,
    t_interval,
)


def test_the_t_interval_of_one_two_three():
    # mean 2, sd 1, t(0.975, 2) = 4.302653, half width 4.302653 / sqrt(3) = 2.484138
    estimate = t_interval([1.0, 2.0, 3.0])
    assert estimate.mean == pytest.approx(2.0)
    assert estimate.spread == pytest.approx(1.0)
    assert (estimate.low, estimate.high) == pytest.approx((-0.484138, 4.484138), abs=1e-6)
    assert estimate.count == 3


def test_one_value_has_no_interval_and_none_has_no_mean():
    assert t_interval([5.0]).mean == 5.0
    assert math.isnan(t_interval([5.0]).low)
    assert math.isnan(t_interval([]).mean)


def test_several_responses_to_a_prompt_count_as_their_mean(make_completion):
    responses = [
        make_completion("b", kl=1.0),
        make_completion("a", kl=2.0),
        make_completion("b", kl=4.0),
        make_completion("c", kl=None),
    ]
    assert prompt_values(responses, KL).to_dict() == {"prompt a": 2.0, "prompt b": 2.5}


def test_a_score_that_a_completion_lacks_is_left_out(make_completion):
    gold = score_measures({"gold": "Gold"})["gold"]
    responses = [make_completion("a", scores={"rm": 1.0}), make_completion("b", scores={"gold": 3.0})]
    assert prompt_values(responses, gold).to_dict() == {"prompt b": 3.0}


def test_differences_are_paired_by_prompt_whatever_the_order():
    ours = pd.Series({"a": 1.0, "b": 5.0, "x": 9.0})
    theirs = pd.Series({"y": 7.0, "b": 2.0, "a": 0.5})
    assert paired_differences(ours, theirs).to_dict() == {"a": 0.5, "b": 3.0}


def test_a_prompt_counts_once_over_seeds():
    seeds = [pd.Series({"a": 1.0, "b": 2.0}), pd.Series({"a": 3.0})]
    assert mean_over_seeds(seeds).to_dict() == {"a": 2.0, "b": 2.0}
    assert mean_over_seeds([]).empty


def test_the_columns_are_scores_then_kl_length_and_ended():
    labels = [m.label for m in measures({"gold": "Gold"})]
    assert labels == ["Gold", "KL (nats)", "Length (tokens)", "Ended (%)"]


def test_the_median_lies_between_order_statistics_with_the_coverage_of_the_sign_test():
    found = median_interval([5.0, 1.0, 4.0, 2.0, 3.0, math.inf])
    assert (found.median, found.low, found.high) == (3.5, 1.0, math.inf)
    assert found.coverage == pytest.approx(1 - 2 / 2**6)  # all six on one side of the median
    ten = median_interval(map(float, range(10)))
    # k = 2: at most one of ten on one side, 2 * (1 + 10) / 2**10
    assert (ten.low, ten.high, ten.coverage) == (1.0, 8.0, pytest.approx(1 - 22 / 1024))


def test_the_median_interval_covers_as_often_as_it_says():
    rng = random.Random(0)
    draws = [[rng.expovariate(1.0) for _ in range(5)] for _ in range(4000)]
    found = [median_interval(draw) for draw in draws]
    covered = sum(one.low <= math.log(2) <= one.high for one in found) / len(found)
    assert covered == pytest.approx(found[0].coverage, abs=0.015)


def test_few_values_have_no_interval():
    assert math.isnan(median_interval([1.0]).low)
    assert math.isnan(median_interval([]).median)
