"""The order of training rows: whole epochs, the same batches for any number of ranks, rows of like length together."""

from itertools import islice

import pytest

from lightning_marlhf.data.samplers import HeldOutSampler, TrainingSampler


def batched(rows, size):
    rows = list(rows)
    return [tuple(rows[at : at + size]) for at in range(0, len(rows), size)]


LENGTHS = [(7 * row) % 31 for row in range(40)]


def batches(**settings):
    return list(batched(TrainingSampler(40, seed=3, **{"batch_size": 8, **settings}), 8))


def test_an_epoch_has_every_row_once_in_an_order_of_its_own():
    order = TrainingSampler(40, batch_size=8, seed=3)
    first = list(order)
    order.set_epoch(1)
    assert sorted(first) == sorted(order) == list(range(40))
    assert first != list(order)


def test_no_two_pairs_of_seed_and_epoch_share_an_order():
    orders = set()
    for seed in range(5):
        order = TrainingSampler(40, batch_size=8, seed=seed)
        for epoch in range(5):
            order.set_epoch(epoch)
            orders.add(tuple(order))
    assert len(orders) == 25


def test_rows_that_fill_no_batch_are_left_for_another_epoch():
    order = TrainingSampler(43, batch_size=8, seed=3)
    assert len(order) == len(list(order)) == 40


def test_a_window_of_one_batch_sorts_rows_and_changes_no_batch():
    plain, sorted_batches = batches(), batches(lengths=LENGTHS)
    assert [set(batch) for batch in plain] == [set(batch) for batch in sorted_batches]
    for batch in sorted_batches:
        lengths = [LENGTHS[row] for row in batch]
        assert lengths == sorted(lengths, reverse=True)


def test_a_wide_window_puts_rows_of_like_length_into_one_batch():
    def spread(found):
        return sum(max(LENGTHS[r] for r in b) - min(LENGTHS[r] for r in b) for b in found)

    wide = batches(lengths=LENGTHS, window=5)
    assert spread(wide) < spread(batches(lengths=LENGTHS)) / 3
    longest = [max(LENGTHS[row] for row in batch) for batch in wide]
    assert longest != sorted(longest, reverse=True)  # batches are shuffled


@pytest.mark.parametrize("ranks", [2, 4])
@pytest.mark.parametrize("window", [1, 2])
def test_ranks_share_the_batches_of_one_process(ranks, window):
    settings = {"batch_size": 8, "seed": 3, "lengths": LENGTHS, "window": window}
    whole = batches(lengths=LENGTHS, window=window)
    parts = [
        list(batched(TrainingSampler(40, **settings, ranks=ranks, rank=rank), 8 // ranks)) for rank in range(ranks)
    ]
    shared = [{row for part in parts for row in part[number]} for number in range(5)]
    assert shared == [set(batch) for batch in whole]


def test_an_order_goes_on_inside_an_epoch():
    whole = list(TrainingSampler(40, batch_size=8, seed=3, lengths=LENGTHS))
    stopped = TrainingSampler(40, batch_size=8, seed=3, lengths=LENGTHS)
    before = list(islice(iter(stopped), 13))
    resumed = TrainingSampler(40, batch_size=8, seed=3, lengths=LENGTHS)
    resumed.load_state_dict(stopped.state_dict())
    assert before + list(resumed) == whole
    assert list(resumed) == whole  # the next epoch starts at its beginning


@pytest.mark.parametrize("ranks", [1, 2, 3, 4])
@pytest.mark.parametrize("size", [1, 5, 8])
def test_held_out_rows_count_once_and_all_ranks_have_as_many(size, ranks):
    orders = [HeldOutSampler(size, ranks=ranks, rank=rank) for rank in range(ranks)]
    dealt = [list(order) for order in orders]
    assert len({len(rows) for rows in dealt}) == 1 == len({len(order) for order in orders})
    counted = []
    for order, rows in zip(orders, dealt, strict=True):
        for batch in range(0, len(rows), 2):
            counted += rows[batch : batch + 2][: order.num_valid_rows(2, batch // 2)]
    assert sorted(counted) == list(range(size))


def test_a_place_in_an_epoch_is_the_same_for_any_number_of_ranks():
    whole = TrainingSampler(24, batch_size=8, seed=1)
    rows = iter(whole)
    first = [next(rows) for _ in range(8)]
    resumed = [TrainingSampler(24, batch_size=8, seed=1, ranks=4, rank=rank) for rank in range(4)]
    for order in resumed:
        order.load_state_dict(whole.state_dict())
    left = [row for order in resumed for row in order]
    assert sorted(first + left) == sorted(TrainingSampler(24, batch_size=8, seed=1))
    assert resumed[0].state_dict() == {"yielded": 24}
