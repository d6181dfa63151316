"""Which pairs people see, and in which order."""

import json

import pytest

from lightning_marlhf.commands.annotation.selection import read_pairing, select
from tests.commands.annotation.pairs import make_pairs


def ids(selection):
    return [pair.pair_id for pair in selection.pairs]


def test_a_seed_draws_pairs_and_their_order_whatever_the_order_of_the_file():
    pairs = make_pairs(30)
    drawn = ids(select(pairs, num=10, overlap=0.2, seed=1))
    assert drawn == ids(select(pairs[::-1], num=10, overlap=0.2, seed=1))
    assert drawn == ids(select(pairs, num=20, overlap=0.2, seed=1))[:10]
    assert drawn != ids(select(pairs, num=10, overlap=0.2, seed=2))
    assert sorted(ids(select(pairs, num=None, overlap=0, seed=1))) == sorted(
        pair.pair_id for pair in pairs
    )


@pytest.mark.parametrize(
    ("count", "overlap", "shared"),
    [(10, 0, 0), (10, 1, 10), (15, 0.2, 3), (11, 0.2, 3), (3, 0.1, 1)],
)
def test_the_share_for_everybody_is_rounded_up_to_whole_pairs(count, overlap, shared):
    assert select(make_pairs(count), num=None, overlap=overlap, seed=1).num_shared == shared


def write(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_files_of_other_programs_need_prompts_and_responses_alone(tmp_path):
    a = write(tmp_path / "a", {"prompt": "p", "response": "x", "other": 1})
    b = write(tmp_path / "b", {"prompt": "p", "response": "y"})
    (pair,) = read_pairing(a, b).pairs
    assert (pair.prompt, pair.a, pair.b) == ("p", "x", "y")


def test_files_that_cannot_be_compared_are_refused_by_name_and_row(tmp_path):
    a = write(tmp_path / "a", {"prompt": "p", "response": "x"})
    with pytest.raises(ValueError, match="row 2: expected `response` with a text"):
        read_pairing(a, write(tmp_path / "b", {"prompt": "p", "response": "y"}, {"prompt": "q"}))
    with pytest.raises(ValueError, match="no prompt in common"):
        read_pairing(a, write(tmp_path / "b", {"prompt": "q", "response": "y"}))
    with pytest.raises(ValueError, match="no completions"):
        read_pairing(a, write(tmp_path / "b"))
