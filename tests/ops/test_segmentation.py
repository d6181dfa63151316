"""Macro actions: by hand, as partitions, and the same whatever stands around a row."""

import inspect

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_marlhf.ops import segmentation
from tests.ops.ragged import CONDITIONS, moved, noise, right_padded, row_lengths, segment


def index(macro_actions):
    return macro_actions.index.tolist()


def test_fixed_ngrams_by_hand():
    mask = right_padded([5, 3, 0])
    cut = segmentation.fixed_ngram(mask, n=2)
    assert index(cut) == [[0, 0, 1, 1, 2], [0, 0, 1, -1, -1], [-1] * 5]
    assert cut.count.tolist() == [3, 2, 0]
    assert cut.width == 3
    assert cut.mask.tolist() == [[True] * 3, [True, True, False], [False] * 3]


def test_n_of_one_is_one_token_each_and_none_is_the_whole_response():
    mask = right_padded([3, 2])
    assert index(segmentation.fixed_ngram(mask, n=1)) == [[0, 1, 2], [0, 1, -1]]
    assert index(segmentation.fixed_ngram(mask, n=None)) == [[0, 0, 0], [0, 0, -1]]
    assert index(segmentation.fixed_ngram(mask, n=10**12)) == [[0, 0, 0], [0, 0, -1]]


def test_ngrams_follow_each_rows_own_lengths_and_leave_the_rest_in_one():
    mask = right_padded([6, 6, 2])
    cut = segmentation.ngrams(mask, lengths=torch.tensor([[1, 2], [3, 2], [5, 1]]))
    assert index(cut) == [[0, 1, 1, 2, 2, 2], [0, 0, 0, 1, 1, 2], [0, 0, -1, -1, -1, -1]]
    assert cut.count.tolist() == [3, 3, 1]


def test_lengths_of_zero_are_skipped_and_make_no_empty_macro_action():
    mask = right_padded([4])
    cut = segmentation.ngrams(mask, lengths=torch.tensor([[0, 1, 0, 0, 2, 0]]))
    assert index(cut) == [[0, 1, 1, 2]]
    assert index(segmentation.ngrams(mask, lengths=torch.zeros(1, 0, dtype=torch.long))) == [[0] * 4]


def test_drawn_lengths_are_a_shuffled_multiset_that_depends_on_the_rows_seed_alone():
    seeds = torch.tensor([11, -12, 13, 11])
    drawn = segmentation.draw_lengths((2, 3, 5, 10), repeat_times=3, seeds=seeds)
    multiset = sorted([2, 3, 5, 10] * 3)
    assert all(sorted(row) == multiset for row in drawn.tolist())
    assert drawn[0].tolist() == drawn[3].tolist()
    assert drawn[0].tolist() != drawn[1].tolist()
    alone = segmentation.draw_lengths((2, 3, 5, 10), repeat_times=3, seeds=seeds[1:2])
    assert alone[0].tolist() == drawn[1].tolist()


def test_a_multiset_dealt_again_is_shuffled_anew_and_the_first_shuffles_stay():
    lengths, seeds = (2, 3, 5, 10), torch.arange(50)
    dealt = segmentation.draw_lengths(lengths, repeat_times=1, seeds=seeds, num_shuffles=3)
    assert dealt.unflatten(1, (3, 4)).sort(dim=2).values.unique().tolist() == list(lengths)
    first, second, _ = dealt.chunk(3, dim=1)
    once = segmentation.draw_lengths(lengths, repeat_times=1, seeds=seeds)
    assert torch.equal(first, once)
    assert 25 < (first != second).any(dim=1).sum() < 50


def test_every_order_of_the_lengths_is_about_equally_frequent():
    drawn = segmentation.draw_lengths((1, 2, 3), repeat_times=1, seeds=torch.arange(6000))
    _, counts = drawn.unique(dim=0, return_counts=True)
    assert len(counts) == 6
    assert ((counts - 1000.0) ** 2 / 1000).sum() < 20.5  # chi-square, 5 degrees of freedom, p = 0.001


def test_perplexity_starts_where_it_rises_or_one_token_earlier():
    mask = right_padded([6, 4])
    # perplexity is exp(-logprob): it rises at tokens 2 and 4 of row one, at token 1 of row two
    logprobs = torch.tensor([[-1.0, -1.0, -3.0, -2.0, -4.0, -1.0], [-1.0, -2.0, -1.0, -1.0, -9, -9]])
    rise = segmentation.perplexity(mask, logprobs=logprobs, boundary="rise")
    assert index(rise) == [[0, 0, 1, 1, 2, 2], [0, 1, 1, 1, -1, -1]]
    released = segmentation.perplexity(mask, logprobs=logprobs, boundary="released")
    assert index(released) == [[0, 1, 1, 2, 2, 2], [0, 0, 0, 0, -1, -1]]


def test_the_last_token_is_cut_off_once_and_never_leaves_an_empty_macro_action():
    mask = right_padded([5, 4, 1, 0])
    cut = segmentation.isolate_last_token(mask, segmentation.fixed_ngram(mask, n=2))
    # five tokens end with a macro action of one already; four do not
    assert index(cut)[:3] == [[0, 0, 1, 1, 2], [0, 0, 1, 2, -1], [0, -1, -1, -1, -1]]
    assert cut.count.tolist() == [3, 3, 1, 0]


def test_a_whole_batch_without_tokens_is_harmless():
    for mask in (right_padded([0, 0], padding=4), right_padded([0, 0])):
        for condition in CONDITIONS:
            cut = segment(condition, mask, torch.zeros(mask.shape))
            assert (cut.index == -1).all()
            assert cut.count.tolist() == [0, 0]
            assert cut.width == 0
            assert cut.mask.shape == (2, 0)


@pytest.mark.parametrize("condition", CONDITIONS)
@given(lengths=row_lengths, seed=st.integers(0, 99), padding=st.integers(0, 3))
@settings(deadline=None, max_examples=40)
def test_each_token_is_in_exactly_one_macro_action_and_padding_in_none(condition, lengths, seed, padding):
    mask = right_padded(lengths, padding=padding)
    cut = segment(condition, mask, noise(*mask.shape, seed=seed))
    assert ((cut.index >= 0) == mask).all()
    for row, length, count in zip(index(cut), lengths, cut.count.tolist(), strict=True):
        assert sorted(set(row[:length])) == list(range(count))  # none empty
        assert row[:length] == sorted(row[:length])  # each one a run of neighbours
    assert cut.width == cut.count.max()


@pytest.mark.parametrize("condition", CONDITIONS)
@given(lengths=row_lengths, seed=st.integers(0, 99), left=st.integers(0, 3), right=st.integers(0, 3))
@settings(deadline=None, max_examples=40)
def test_padding_and_other_rows_change_nothing(condition, lengths, seed, left, right):
    mask = right_padded(lengths)
    tokens = noise(*mask.shape, seed=seed)
    cut = segment(condition, mask, tokens)
    wide_mask = torch.nn.functional.pad(mask, (left, right))
    wide_tokens = moved(tokens, mask, left=left, right=right, fill=99.0)
    wide = segment(condition, wide_mask, wide_tokens)
    assert (wide.index[:, left : left + mask.shape[1]] == cut.index).all()
    assert (wide.count == cut.count).all()
    for row in range(len(lengths)):
        alone = segment(condition, mask[row : row + 1], tokens[row : row + 1])
        assert (alone.index[0] == cut.index[row]).all()


def test_unusable_options_are_refused_with_what_was_got():
    mask, seeds = right_padded([2]), torch.tensor([1])
    unchecked = inspect.unwrap(segmentation.perplexity)  # pytest checks types before we can
    with pytest.raises(ValueError, match=r"n: expected at least 1.*got 0"):
        segmentation.fixed_ngram(mask, n=0)
    with pytest.raises(ValueError, match='expected "rise" or "released", got \'fall\''):
        unchecked(mask, logprobs=torch.zeros(1, 2), boundary="fall")
    with pytest.raises(ValueError, match=r"lengths: .*got \[3, 0\]"):
        segmentation.draw_lengths((3, 0), repeat_times=1, seeds=seeds)
    with pytest.raises(ValueError, match="repeat_times: expected at least 1, got 0"):
        segmentation.draw_lengths((3,), repeat_times=0, seeds=seeds)
