"""Win rates count what judges said; their intervals cover the truth as often as they claim."""

import itertools

import numpy as np
import pytest

from lightning_marlhf.evaluation.bootstrap import interval, mean_interval
from lightning_marlhf.evaluation.outcomes import outcomes
from lightning_marlhf.evaluation.pairs import Pair
from lightning_marlhf.evaluation.win_rate import agreement, pairwise, summarize
from lightning_marlhf.records import Verdict

SWAPPED = {"a": "b", "b": "a", "tie": "tie", "invalid": "invalid", "ab": "ba", "ba": "ab", "": ""}


def pair(number, a="aa", b="bb"):
    return Pair(f"{number}-0", f"prompt {number}", a, b)


def verdict(number, winner, order="", judge="gold"):
    return Verdict(f"{number}-0", "", order, winner, judge)


def turned(pairs, verdicts):
    """Call a what was b."""
    return (
        [Pair(p.pair_id, p.prompt, p.b, p.a) for p in pairs],
        [Verdict(v.pair_id, "", SWAPPED[v.order], SWAPPED[v.winner], v.judge) for v in verdicts],
    )


def test_wins_ties_and_losses_are_counted_and_invalid_verdicts_are_in_no_rate():
    winners = ["a", "a", "a", "tie", "b", "invalid"]
    rate = summarize([verdict(i, w) for i, w in enumerate(winners)], [pair(i) for i in range(6)])
    assert (rate.pairs, rate.wins, rate.ties, rate.losses, rate.invalid) == (6, 3, 1, 1, 1)
    assert rate.win_rate == pytest.approx(3.5 / 5)
    assert rate.decisive_rate == pytest.approx(3 / 4)
    assert rate.sign_p == pytest.approx(2 * (4 + 1) / 16)  # of 4, at least 3 alike
    assert rate.low < rate.win_rate < rate.high


def test_wilson_s_interval_is_the_textbook_one():
    verdicts = [verdict(i, "a" if i < 39 else "b") for i in range(50)]
    rate = summarize(verdicts, [pair(i) for i in range(50)])
    assert (rate.wilson_low, rate.wilson_high) == pytest.approx((0.6476, 0.8725), abs=1e-4)


def test_orders_that_agree_have_a_winner_and_orders_that_do_not_are_a_tie():
    verdicts = [verdict(1, "a", "ab"), verdict(1, "a", "ba"), verdict(2, "a", "ab"), verdict(2, "b", "ba")]
    assert outcomes(verdicts) == {"1-0": "a", "2-0": "tie"}
    assert outcomes([verdict(1, "a", "ab"), verdict(1, "tie", "ba")]) == {"1-0": "tie"}
    assert outcomes([verdict(1, "a", "ab"), verdict(1, "invalid", "ba")]) == {"1-0": "invalid"}


def test_the_last_verdict_on_a_pair_counts():
    assert outcomes([verdict(1, "invalid"), verdict(1, "b")]) == {"1-0": "b"}


def test_annotators_vote():
    def votes(*winners):
        return [verdict(1, w, judge=f"human:{i}") for i, w in enumerate(winners)]

    assert outcomes(votes("a", "b", "a"))["1-0"] == "a"
    assert outcomes(votes("a", "b"))["1-0"] == "tie"
    assert outcomes(votes("tie", "b"))["1-0"] == "b"
    assert outcomes(votes("invalid", "b"))["1-0"] == "b"
    assert outcomes(votes("invalid"))["1-0"] == "invalid"


def test_a_judge_that_prefers_what_stands_first_has_a_rate_of_a_half_and_always_flips():
    verdicts = [verdict(i, order[0], order) for i in range(20) for order in ("ab", "ba")]
    rate = summarize(verdicts, [pair(i) for i in range(20)])
    assert (rate.win_rate, rate.flip_rate, rate.first_position_rate) == (0.5, 1.0, 1.0)


def test_rates_turn_round_with_the_names():
    generator = np.random.default_rng(0)
    pairs = [pair(i, "x" * generator.integers(1, 40), "y" * generator.integers(1, 40)) for i in range(150)]
    verdicts = [
        verdict(i, generator.choice(["a", "b", "tie", "invalid"]), order)
        for i, order in itertools.product(range(150), ("ab", "ba"))
    ]
    one = summarize(verdicts, pairs)
    pairs, verdicts = turned(pairs, verdicts)
    other = summarize(verdicts, pairs)
    assert one.win_rate + other.win_rate == pytest.approx(1)
    assert one.low + other.high == pytest.approx(1, abs=1e-12)
    assert one.length_controlled + other.length_controlled == pytest.approx(1, abs=1e-4)
    assert (one.wins, one.ties, one.invalid) == (other.losses, other.ties, other.invalid)
    assert (one.flip_rate, one.first_position_rate) == (other.flip_rate, other.first_position_rate)
    assert (one.longer_wins, one.sign_p) == (other.longer_wins, other.sign_p)


def test_a_judge_of_length_alone_has_a_length_controlled_rate_of_a_half():
    generator = np.random.default_rng(1)
    lengths = generator.integers(10, 200, (300, 2)) + np.array([40, 0])  # a is longer, mostly
    pairs = [pair(i, "x" * a, "y" * b) for i, (a, b) in enumerate(lengths)]
    verdicts = [verdict(i, "a" if a > b else "b" if b > a else "tie") for i, (a, b) in enumerate(lengths)]
    rate = summarize(verdicts, pairs)
    assert rate.longer_wins == 1
    assert rate.win_rate > 0.65
    assert rate.length_controlled == pytest.approx(0.5, abs=0.08)
    assert rate.length_controlled_low < 0.5 < rate.length_controlled_high


def test_a_judge_blind_to_length_keeps_its_rate_under_length_control():
    generator = np.random.default_rng(2)
    pairs = [pair(i, "x" * generator.integers(10, 200), "y" * generator.integers(10, 200)) for i in range(600)]
    verdicts = [verdict(i, "a" if generator.random() < 0.7 else "b") for i in range(600)]
    rate = summarize(verdicts, pairs)
    assert rate.length_controlled == pytest.approx(rate.win_rate, abs=0.02)
    assert rate.remarks == ()


def test_length_control_is_refused_where_all_outcomes_are_the_same_and_doubted_where_pairs_are_few():
    one_sided = summarize([verdict(i, "a") for i in range(9)], [pair(i) for i in range(9)])
    assert one_sided.length_controlled is None
    assert "all outcomes are the same" in one_sided.remarks[0]
    few = summarize([verdict(i, "ab"[i % 2]) for i in range(9)], [pair(i) for i in range(9)])
    assert "unreliable below 100 pairs" in few.remarks[0]


def test_nothing_judged_is_no_number():
    rate = summarize([], [pair(1)])
    assert (rate.pairs, rate.win_rate, rate.low, rate.sign_p, rate.longer_wins) == (0, None, None, None, None)


@pytest.mark.parametrize("answers_per_prompt", [1, 4])
def test_the_interval_covers_the_truth_in_about_95_of_100_experiments(answers_per_prompt):
    """Answers to one prompt go the same way; an interval that took them for independent would cover far less."""
    generator = np.random.default_rng(3)
    prompts, experiments, truth = 60, 300, 0.62
    groups = [str(prompt) for prompt in range(prompts) for _ in range(answers_per_prompt)]
    covered = 0
    for experiment in range(experiments):
        wins = (generator.random(prompts) < truth).astype(float).repeat(answers_per_prompt)
        low, high = mean_interval(wins, groups, resamples=500, seed=experiment)
        covered += low <= truth <= high
    assert 0.90 <= covered / experiments <= 0.985


def test_an_interval_needs_two_prompts():
    with pytest.raises(ValueError, match="at least two prompts, got 1"):
        mean_interval(np.zeros(2), ["p", "p"], seed=0)


def test_the_general_interval_is_that_of_the_mean_for_a_mean():
    values = np.random.default_rng(4).random(90)
    groups = [str(number // 3) for number in range(90)]
    low, high = interval(lambda rows: values[rows].mean(), groups, resamples=4000, seed=0)
    assert (low, high) == pytest.approx(mean_interval(values, groups, seed=0), abs=0.005)


# Agreement, against tables worked out by hand


def judged(text):
    return {str(number): {"a": "a", "b": "b", "t": "tie", "-": "invalid"}[c] for number, c in enumerate(text)}


def test_kappa_takes_off_what_chance_gives():
    # 10 pairs, 7 alike; the first says a 6, b 4; the second a 5, b 5: chance 0.6 * 0.5 + 0.4 * 0.5 = 0.5
    found = agreement(judged("aaaaaabbbb"), judged("aaaabbbbba"), names=("x", "y"))
    assert found.pairs == 10
    assert found.raw == pytest.approx(0.7)
    assert found.kappa == pytest.approx((0.7 - 0.5) / (1 - 0.5), abs=1e-6)
    assert found.low < 0.7 < found.high


def test_ties_are_a_class_of_their_own_and_the_decisive_pairs_are_counted_apart():
    found = agreement(judged("abta"), judged("attb"), names=("x", "y"))
    assert found.raw == 0.5
    assert (found.decisive_pairs, found.decisive_raw) == (2, 0.5)


def test_pairs_that_one_of_them_has_not_judged_do_not_count():
    found = agreement(judged("ab-a"), judged("abb"), names=("x", "y"))
    assert (found.pairs, found.raw) == (2, 1.0)


def test_kappa_of_judges_who_always_say_the_same_one_thing_is_not_a_number_to_print():
    assert agreement(judged("aaa"), judged("aaa"), names=("x", "y")).kappa is None
    assert agreement({}, {}, names=("x", "y")).raw is None


def test_every_two_judges_with_pairs_in_common_are_compared():
    def says(judge, pair_id, winner):
        return Verdict(pair_id, "", "", winner, judge)

    found = pairwise([says("x", "1", "a"), says("y", "1", "a"), says("z", "2", "a"), says("y", "2", "b")])
    assert [(each.first, each.second, each.raw) for each in found] == [("x", "y", 1.0), ("y", "z", 0.0)]
