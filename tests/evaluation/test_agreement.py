"""Agreement of judges, against tables worked out by hand."""

import pytest

from lightning_marlhf.evaluation.agreement import agreement, pairwise
from lightning_marlhf.records import Verdict


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
