"""Which rows belong to which phase: the released code's own indices, and no post in two phases."""

import hashlib
import json
from pathlib import Path

import datasets
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning_marlhf.data import splits

REFERENCE = json.loads((Path(__file__).parents[1] / "reference/splits.json").read_text())
SHARES = (2, 4, 4)
WEBGPT_ROWS = 19_578


def phases(size, shares=SHARES):
    return [splits.phase_by_row(size, shares, index, seed=1234) for index in range(len(shares))]


def phases_by_post(posts, shares=SHARES, seed=1234):
    return [splits.phase_by_group(posts, shares, k, seed=seed) for k in range(len(shares))]


def assert_same_rows(rows, expected):
    assert rows[:6].tolist() == expected["first"]
    digest = hashlib.sha256(np.asarray(rows, dtype="<u4").tobytes()).hexdigest()
    assert digest[:16] == expected["sha256"]


@pytest.mark.parametrize("name", ["tldr_train", "tldr_validation", "hh_train", "hh_test"])
def test_the_phases_are_those_of_the_released_code(name):
    expected = REFERENCE["phases"][name]
    size = expected["bounds"][-1]
    assert splits.phase_bounds(SHARES, size) == expected["bounds"]
    for rows, reference in zip(phases(size), expected["phases"], strict=True):
        assert_same_rows(rows, reference)


@pytest.mark.parametrize(("part", "name"), [(0, "webgpt_train"), (1, "webgpt_eval")])
def test_webgpt_is_first_cut_into_training_and_held_out_rows(part, name):
    kept = splits.phase_by_row(WEBGPT_ROWS, (95, 5), part, seed=1234)
    assert_same_rows(kept, REFERENCE["webgpt_holdout"][part])
    expected = REFERENCE["phases"][name]
    assert splits.phase_bounds(SHARES, len(kept)) == expected["bounds"]
    for rows, reference in zip(phases(len(kept)), expected["phases"], strict=True):
        assert_same_rows(kept[rows], reference)


def test_small_splits_shift_every_bound_but_the_first_as_released():
    assert [rows.tolist() for rows in phases(10)] == [[7, 2], [9, 1, 0, 8], [4, 5, 6, 3]]
    assert splits.phase_bounds(SHARES, 7) == [0, 1, 4, 7]  # 1.4, 2.8, 2.8 round to 1, 3, 3
    assert splits.phase_bounds(SHARES, 4) == [0, 0, 2, 4]  # 0.8, 1.6, 1.6 round to 1, 2, 2
    assert [rows.tolist() for rows in phases(7)] == [[2], [1, 6, 0], [4, 5, 3]]


@given(size=st.integers(1, 300), shares=st.sampled_from([(2, 4, 4), (2, 8), (95, 5), (0, 1, 1)]))
def test_every_row_is_in_one_phase(size, shares):
    rows = np.concatenate(phases(size, shares))
    assert sorted(rows.tolist()) == list(range(size))


@given(posts=st.lists(st.sampled_from("abcdefghij"), min_size=1, max_size=60), seed=st.integers(0, 99))
def test_by_post_every_row_is_in_one_phase_and_no_post_in_two(posts, seed):
    found = phases_by_post(posts, seed=seed)
    assert sorted(np.concatenate(found).tolist()) == list(range(len(posts)))
    for first, second in [(0, 1), (0, 2), (1, 2)]:
        assert not {posts[row] for row in found[first]} & {posts[row] for row in found[second]}


def test_by_post_is_by_row_where_no_two_rows_share_a_post():
    posts = [f"post {number}" for number in range(57)]
    for by_post, by_row in zip(phases_by_post(posts), phases(57), strict=True):
        assert by_post.tolist() == by_row.tolist()


def test_phases_by_post_are_cut_where_the_row_count_is_nearest_to_the_shares():
    posts = [*"aaaaaa", *"b", *"c", *"d", *"e"]
    assert splits.shuffled(1234, 5).tolist() == [4, 0, 1, 2, 3]  # e, a, b, c, d
    # The shares end at 2, 6 and 10 rows; the posts end at 1, 7, 8, 9 and 10.
    found = [{posts[row] for row in rows} for rows in phases_by_post(posts)]
    assert found == [{"e"}, {"a"}, {"b", "c", "d"}]


def test_the_order_of_a_phase_by_group_is_that_of_the_row_shuffle():
    posts = [str(number % 20) for number in range(60)]
    place = {row: place for place, row in enumerate(splits.shuffled(1234, 60).tolist())}
    for rows in phases_by_post(posts):
        places = [place[row] for row in rows.tolist()]
        assert places == sorted(places)


@pytest.mark.parametrize("name", ["tldr", "hh_rlhf"])
def test_the_evaluation_subset_is_the_papers(name):
    expected = REFERENCE["evaluation"][name]
    rows = splits.evaluation_subset(expected["size"], 2000, shuffled=True)
    assert len(rows) == 2000
    assert_same_rows(rows, expected)


def test_the_evaluation_subset_is_shuffled_as_datasets_shuffles():
    stored = datasets.Dataset.from_dict({"row": list(range(101))}).shuffle(seed=1234)
    assert splits.evaluation_subset(101, 40, shuffled=True).tolist() == stored["row"][:40]


def test_an_evaluation_subset_in_order_is_the_first_rows_there_are():
    assert splits.evaluation_subset(5, 3, shuffled=False).tolist() == [0, 1, 2]
    assert splits.evaluation_subset(2, 3, shuffled=False).tolist() == [0, 1]


@pytest.mark.parametrize("size", [10, 1003, 92858])
def test_the_held_out_reward_model_reads_the_pairs_of_ppo_and_none_of_the_first_one(size):
    """The setting of experiments/paper/systems.yaml: phases 6,4,0 beside the paper's 2,4,4."""
    first, ppo = (splits.phase_by_row(size, (2, 4, 4), n, seed=1234) for n in (1, 2))
    held_out = splits.phase_by_row(size, (6, 4, 0), 1, seed=1234)
    assert not set(held_out.tolist()) & set(first.tolist())
    assert len(set(held_out.tolist()) ^ set(ppo.tolist())) <= 1  # of rounding
