"""pass@k and the numbers of APPS, against exact counts and SciPy's bootstrap; over ranks as on one."""

import math
from fractions import Fraction

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_marlhf.evaluation.bootstrap import column_means_interval
from lightning_marlhf.evaluation.pass_at_k import PassAtK, pass_at_k


def estimate(num_samples, num_correct, k):
    return pass_at_k(torch.tensor(num_samples), torch.tensor(num_correct), k)


def exact(num_samples, num_correct, k):
    """Count the ways to draw k samples that are all wrong."""
    wrong = math.comb(num_samples - num_correct, k)
    return 1 - Fraction(wrong, math.comb(num_samples, k))


# problem, difficulty, sample, passed, total: "a" is solved by 1 of 3, "b" by 2 of 2, "c" by none of 2
ROWS = [
    ("a", "interview", 0, 4, 4),
    ("a", "interview", 1, 1, 4),
    ("a", "interview", 2, 0, 4),
    ("b", "introductory", 0, 2, 2),
    ("b", "introductory", 1, 2, 2),
    ("c", "interview", 0, 0, 1),
    ("c", "interview", 1, 0, 1),
]


def measured(rows, **options):
    metric = PassAtK(**{"ks": (1, 2), "resamples": 200} | options)
    add(metric, rows)
    return metric


def add(metric, rows):
    problems, difficulties, samples, passed, total = map(list, zip(*rows, strict=True))
    metric.update(problems, difficulties, samples=samples, passed=passed, total=total)


def random_rows(num_problems, num_samples, seed=0):
    draw = np.random.default_rng(seed)
    skill = draw.uniform(size=num_problems)
    return [
        (f"{problem}", ("introductory", "interview")[problem % 2], sample, int(passed), 3)
        for problem in range(num_problems)
        for sample, passed in enumerate(draw.binomial(3, skill[problem], size=num_samples))
    ]


# The estimate


@pytest.mark.parametrize(
    ("num_samples", "num_correct", "k", "expected"),
    [
        (10, 3, 5, 0.916667),  # 1 - C(7, 5) / C(10, 5) = 1 - 21 / 252
        (200, 7, 100, 0.992991),
        (10, 0, 5, 0.0),
        (10, 6, 5, 1.0),  # any five hold a correct one
        (10, 10, 10, 1.0),
        (5, 2, 1, 0.4),
    ],
)
def test_checked_values(num_samples, num_correct, k, expected):
    assert estimate(num_samples, num_correct, k).item() == pytest.approx(expected, abs=5e-7)


@settings(deadline=None, max_examples=100)
@given(data=st.data())
def test_it_is_the_exact_count_of_draws(data):
    num_samples = data.draw(st.integers(1, 400))
    num_correct = data.draw(st.integers(0, num_samples))
    k = data.draw(st.integers(1, num_samples))
    expected = float(exact(num_samples, num_correct, k))
    assert estimate(num_samples, num_correct, k).item() == pytest.approx(expected, abs=1e-12)


def test_every_problem_has_its_own_counts():
    several = estimate([[10, 200], [100, 5]], [[3, 7], [0, 5]], k=5)
    one_by_one = [[exact(10, 3, 5), exact(200, 7, 5)], [exact(100, 0, 5), exact(5, 5, 5)]]
    torch.testing.assert_close(several, torch.tensor(one_by_one, dtype=torch.float64))


@pytest.mark.parametrize(("num_samples", "num_correct", "k"), [([5, 4], [1, 1], 5), ([5], [1], 0), ([5], [1], -1)])
def test_more_tries_than_samples_is_an_error(num_samples, num_correct, k):
    with pytest.raises(ValueError, match="expected k from 1"):
        estimate(num_samples, num_correct, k)


@pytest.mark.parametrize("num_correct", [[6], [-1]])
def test_more_correct_than_samples_is_an_error(num_correct):
    with pytest.raises(ValueError, match="expected from 0 to all"):
        estimate([5], num_correct, 1)


# The numbers


def test_numbers_by_hand():
    numbers = measured(ROWS).compute()
    # pass@1 is 1/3, 1, 0; pass@2 is 1 - C(2, 2) / C(3, 2) = 2/3, 1, 0; tests passed are 5/12, 1, 0
    expected = {
        "pass@1": 4 / 9,
        "pass@2": 5 / 9,
        "strict_accuracy": 4 / 9,
        "test_case_average": 17 / 36,
        "num_problems": 3,
        "num_samples": 7,
        "pass@1/interview": 1 / 6,
        "pass@2/interview": 1 / 3,
        "strict_accuracy/interview": 1 / 6,
        "test_case_average/interview": 5 / 24,
        "num_problems/interview": 2,
        "num_samples/interview": 5,
        "pass@1/introductory": 1.0,
        "pass@2/introductory": 1.0,
        "strict_accuracy/introductory": 1.0,
        "test_case_average/introductory": 1.0,
        "num_problems/introductory": 1,
        "num_samples/introductory": 2,
    }
    ends = {name for name in numbers if "_low" in name or "_high" in name}
    assert len(ends) == 2 * sum("num_" not in name for name in expected)
    assert {name: numbers[name] for name in numbers if name not in ends} == pytest.approx(expected)


def test_a_k_that_a_problem_has_too_few_samples_for_is_left_out():
    metric = measured(ROWS, ks=(1, 3, 2, 10))
    numbers = metric.compute()
    assert metric.left_out == (3, 10)
    assert [name for name in numbers if name.startswith("pass@3")] == []
    assert "pass@2/interview" in numbers
    assert "pass@2/introductory" in numbers
    fewer = measured(ROWS[:3], ks=(1, 3, 2, 10))
    fewer.compute()
    assert fewer.left_out == (10,)


def test_numbers_are_numbers_of_python():
    assert {type(number) for number in measured(ROWS).compute().values()} == {int, float}


def test_an_unknown_difficulty_counts_in_the_overall_numbers_alone():
    numbers = measured([*ROWS, ("d", "", 0, 1, 1), ("d", "", 1, 1, 1)]).compute()
    assert numbers["num_problems"] == 4
    ends = {name.partition("/")[1:] for name in numbers}
    assert ends == {("", ""), ("/", "interview"), ("/", "introductory")}


def test_one_problem_has_an_interval_without_width():
    numbers = measured(ROWS[:3]).compute()
    assert numbers["pass@2_low"] == numbers["pass@2_high"] == pytest.approx(2 / 3)


def test_a_sample_that_arrives_again_counts_once():
    again = [*ROWS, *ROWS[:3], ("a", "interview", 2, 4, 4)]  # what arrived first stays
    assert measured(again).compute() == measured(ROWS).compute()


def test_what_came_before_a_reset_is_forgotten():
    metric = measured(random_rows(4, 2))
    metric.compute()
    metric.reset()
    add(metric, ROWS)
    assert metric.compute() == measured(ROWS).compute()


# Intervals


def test_intervals_are_those_of_scipy():
    values = torch.tensor(np.random.default_rng(0).normal(size=(20, 2)))
    ends = column_means_interval(values, resamples=5_000, seed=1)
    reference = scipy.stats.bootstrap(
        (values.numpy(),), np.mean, n_resamples=5_000, method="percentile", rng=2, axis=0
    ).confidence_interval
    expected = torch.tensor(np.stack([reference.low, reference.high]))
    torch.testing.assert_close(ends, expected, atol=0.03, rtol=0)  # 90 % would be off by 0.07


def test_intervals_are_over_problems_and_not_over_samples():
    narrow = measured(random_rows(40, 2)).compute()
    many = measured([(*row[:2], row[2] + 2 * copy, *row[3:]) for row in random_rows(40, 2) for copy in range(9)])
    assert many.compute()["pass@1_low"] == pytest.approx(narrow["pass@1_low"])
    assert narrow["pass@1_low"] < narrow["pass@1"] < narrow["pass@1_high"]


def test_intervals_depend_on_the_seed_alone():
    rows = random_rows(30, 2)
    assert measured(rows).compute() == measured(rows).compute()
    assert measured(rows, seed=1).compute() != measured(rows).compute()


# Over ranks


def test_two_ranks_give_what_one_gives():
    rows = random_rows(21, 3)
    first, second = measured(rows[::2]), measured(rows[1::2])
    second.merge_state(first)
    assert second.compute() == measured(rows).compute()


def test_samples_that_two_ranks_share_count_once():
    rows = random_rows(21, 3)
    first, second = measured(rows[:40]), measured(rows[30:])
    first.merge_state(second)
    assert first.compute() == measured(rows).compute()


def test_ranks_gather_what_they_have_and_one_may_have_nothing():
    rows = random_rows(5, 2)
    other = measured(rows[:3])
    gathered = iter([state[0] for state in other.metric_state.values()])

    def gather(tensor, group):
        """Stand for torch.distributed, which wants tensors of one type and as many dimensions."""
        theirs = next(gathered)
        assert (tensor.dtype, tensor.ndim) == (theirs.dtype, theirs.ndim)
        return [theirs, tensor]

    options = {"dist_sync_fn": gather, "distributed_available_fn": lambda: True}
    assert measured(rows[3:], **options).compute() == measured(rows).compute()
    gathered = iter([state[0] for state in measured(rows).metric_state.values()])
    empty = PassAtK(ks=(1, 2), resamples=200, **options)
    with pytest.warns(UserWarning, match="before the ``update`` method"):
        assert empty.compute() == measured(rows).compute()


def test_a_problem_has_the_same_number_on_every_rank():
    number = int.from_bytes(bytes.fromhex("ca978112ca1bbdca"), signed=True)  # of SHA-256 of "a"
    assert measured(ROWS[:1]).problems[0].tolist() == [number]


def test_an_empty_batch_changes_nothing():
    metric = measured(ROWS)
    metric.update([], [], samples=[], passed=[], total=[])
    assert metric.compute() == measured(ROWS).compute()


# Mistakes


@pytest.mark.parametrize(("passed", "total"), [(0, 0), (3, 2), (-1, 2)])
def test_counts_of_tests_that_cannot_be_are_errors(passed, total):
    with pytest.raises(ValueError, match="expected at least one test"):
        measured([("a", "interview", 0, passed, total)])


def test_columns_of_different_lengths_are_an_error():
    with pytest.raises(ValueError, match="1 problems, 2 difficulties"):
        PassAtK().update(["a"], ["x", "x"], samples=[0], passed=[1], total=[1])


def test_a_long_difficulty_is_an_error_and_any_other_name_is_kept():
    with pytest.raises(ValueError, match="at most 32 bytes"):
        measured([("a", "x" * 33, 0, 1, 1)])
    name = "sehr schwer \u00e4\u00f6\u00fc " + "x" * 13  # 32 bytes
    assert f"pass@1/{name}" in measured([("a", name, 0, 1, 1)]).compute()


@pytest.mark.parametrize("options", [{"ks": ()}, {"ks": (0, 1)}, {"resamples": 0}])
def test_settings_that_cannot_be_are_errors(options):
    with pytest.raises(ValueError, match="expected at least"):
        PassAtK(**options)
