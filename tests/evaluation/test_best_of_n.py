"""The estimate of best-of-N against all subsets, and what it has to be at its ends."""

import itertools
import math
import statistics

import numpy as np
import pytest

from lightning_marlhf.evaluation.best_of_n import best_of_n, expected_best, kl_bound, rank_weights
from lightning_marlhf.records import MeanInterval


def draws(*shape, seed=0, ties=False):
    numbers = np.random.default_rng(seed).normal(size=shape)
    return numbers.round() if ties else numbers


def over_all_subsets(chooser, scores, n):
    """Take the mean over all subsets of n answers of the score of the best; ties are chosen equally often."""
    values = []
    for subset in itertools.combinations(range(len(chooser)), n):
        most = max(chooser[i] for i in subset)
        values.append(statistics.fmean(scores[i] for i in subset if chooser[i] == most))
    return statistics.fmean(values)


@pytest.mark.parametrize("ties", [False, True])
def test_it_is_the_mean_over_all_subsets(ties):
    chooser, second = draws(3, 7, ties=ties), draws(3, 7, seed=1)
    ns = list(range(1, 8))
    for scores in (chooser, second):
        expected = [
            [over_all_subsets(a.tolist(), b.tolist(), n) for n in ns] for a, b in zip(chooser, scores, strict=True)
        ]
        found = expected_best(chooser, scores, ns)
        np.testing.assert_allclose(found, expected, atol=1e-12)


def test_the_best_of_one_is_the_mean_and_of_all_the_maximum():
    scores = draws(5, 64)
    first, last = expected_best(scores, scores, [1, 64]).T
    np.testing.assert_allclose(first, scores.mean(axis=1))
    assert last.tolist() == scores.max(axis=1).tolist()


def test_the_order_of_the_responses_does_not_matter():
    chooser, second = draws(2, 9, ties=True), draws(2, 9, seed=1)
    order = np.random.default_rng(2).permutation(9)
    np.testing.assert_allclose(
        expected_best(chooser[:, order], second[:, order], range(1, 10)), expected_best(chooser, second, range(1, 10))
    )


def test_weights_of_a_large_pool_are_those_of_whole_numbers():
    weights = rank_weights(2000, [1000])[0]
    whole = [math.comb(i, 999) / math.comb(2000, 1000) for i in range(2000)]
    np.testing.assert_allclose(weights, whole, rtol=1e-9, atol=1e-300)


def test_the_mean_over_pools_does_not_depend_on_the_size_of_the_pool():
    # the expected maximum of 3 uniform numbers is 3/4
    for size in (3, 12):
        pools = np.random.default_rng(size).random((20_000, size))
        assert expected_best(pools, pools, [3]).mean() == pytest.approx(0.75, abs=0.005)


def test_points_are_means_over_prompts_with_intervals_around_them():
    rows = enumerate(draws(40, 4))
    pools = {str(n): {"rm": row.tolist(), "gold": (-row).tolist()} for n, row in rows}
    points = best_of_n(pools, [1, 2, 4], chooser="rm")
    assert [point.n for point in points] == [1, 2, 4]
    assert points[1].kl_bound == pytest.approx(math.log(2) - 0.5)
    best = [max(pool["rm"]) for pool in pools.values()]
    whole = points[2].scores["rm"]
    assert whole.mean == pytest.approx(statistics.fmean(best))
    for scores in (point.scores for point in points):
        assert scores["gold"].mean == pytest.approx(-scores["rm"].mean)
        assert scores["rm"].low < scores["rm"].mean < scores["rm"].high
    # near the normal interval, as the maxima of 40 prompts are many enough
    half = 1.96 * statistics.stdev(best) / math.sqrt(40)
    assert whole.high - whole.mean == pytest.approx(half, rel=0.25)


def test_prompts_may_have_pools_of_different_sizes():
    scores = {"p": [0.0, 2.0], "q": [1.0, 5.0, 3.0], "r": [4.0, 6.0]}
    pools = {prompt: {"rm": each} for prompt, each in scores.items()}
    points = best_of_n(pools, [1, 2], chooser="rm")
    # means 1, 3, 5; best of two 2, (5 + 5 + 3) / 3, 6
    assert [p.scores["rm"].mean for p in points] == pytest.approx([3.0, (2 + 13 / 3 + 6) / 3])


@pytest.mark.parametrize("ns", [[0], [4], [], [1, 4]])
def test_an_n_that_cannot_be_drawn_is_refused(ns):
    with pytest.raises(ValueError, match="expected numbers from 1 to 3"):
        rank_weights(3, ns)


def test_what_is_no_number_or_not_there_is_refused():
    broken, whole = np.array([[1.0, math.nan]]), np.zeros((1, 2))
    for chooser, scores in ((broken, whole), (whole, broken)):
        with pytest.raises(ValueError, match="expected finite scores"):
            expected_best(chooser, scores, [1])
    with pytest.raises(ValueError, match="got none"):
        best_of_n({}, [1], chooser="rm")


def test_one_prompt_has_no_interval():
    (point,) = best_of_n({"p": {"rm": [1.0, 3.0]}}, [2], chooser="rm")
    assert point.scores["rm"] == MeanInterval(3.0, None, None)


def test_the_bound_on_kl_is_nothing_for_one():
    assert kl_bound(1) == 0
    assert kl_bound(64) == pytest.approx(4.158883 - 63 / 64)
