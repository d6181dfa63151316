"""The order of training rows: whole epochs, the same batches for any number of ranks, rows of like length together."""

from itertools import islice

import pytest

from lightning_marlhf.data.order import TrainingOrder


def batched(rows, size):
    rows = list(rows)
    return [tuple(rows[at : at + size]) for at in range(0, len(rows), size)]


LENGTHS = [(7 * row) % 31 for row in range(40)]


def batches(**settings):
    return list(batched(TrainingOrder(40, seed=3, **{"batch_size": 8, **settings}), 8))


def test_an_epoch_has_every_row_once_in_an_order_of_its_own():
    order = TrainingOrder(40, batch_size=8, seed=3)
    first = list(order)
    order.set_epoch(1)
    assert sorted(first) == sorted(order) == list(range(40))
    assert first != list(order)


def test_rows_that_fill_no_batch_are_left_for_another_epoch():
    order = TrainingOrder(43, batch_size=8, seed=3)
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
        list(batched(TrainingOrder(40, **settings, ranks=ranks, rank=rank), 8 // ranks))
        for rank in range(ranks)
    ]
    shared = [{row for part in parts for row in part[number]} for number in range(5)]
    assert shared == [set(batch) for batch in whole]


def test_an_order_goes_on_inside_an_epoch():
    whole = list(TrainingOrder(40, batch_size=8, seed=3, lengths=LENGTHS))
    stopped = TrainingOrder(40, batch_size=8, seed=3, lengths=LENGTHS)
    before = list(islice(iter(stopped), 13))
    resumed = TrainingOrder(40, batch_size=8, seed=3, lengths=LENGTHS)
    resumed.load_state_dict(stopped.state_dict())
    assert before + list(resumed) == whole
    assert list(resumed) == whole  # the next epoch starts at its beginning
