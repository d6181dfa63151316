"""Which pairs people see, and in which order."""

import pytest

from lightning_marlhf.annotation.selection import select
from lightning_marlhf.evaluation.pair_files import draw
from tests.annotation.pairs import make_pairs


def ids(selection):
    return [pair.pair_id for pair in selection.pairs]


def test_a_seed_draws_pairs_and_their_order_whatever_the_order_of_the_file():
    pairs = make_pairs(30)
    drawn = ids(select(pairs, num=10, overlap=0.2, seed=1))
    assert drawn == ids(select(pairs[::-1], num=10, overlap=0.2, seed=1))
    assert drawn == ids(select(pairs, num=20, overlap=0.2, seed=1))[:10]
    assert drawn != ids(select(pairs, num=10, overlap=0.2, seed=2))
    assert set(drawn) == {pair.pair_id for pair in draw(pairs, 10, seed=1, by_subreddit=False)}
    assert sorted(ids(select(pairs, num=None, overlap=0, seed=1))) == sorted(
        pair.pair_id for pair in pairs
    )


@pytest.mark.parametrize(
    ("count", "overlap", "shared"),
    [(10, 0, 0), (10, 1, 10), (100, 0.07, 7), (11, 0.2, 3), (3, 0.1, 1)],
)
def test_the_share_for_everybody_is_rounded_up_to_whole_pairs(count, overlap, shared):
    assert select(make_pairs(count), num=None, overlap=overlap, seed=1).num_shared == shared
