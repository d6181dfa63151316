"""Pooling tokens into macro actions and spreading back."""

import inspect

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_marlhf.ops import macro, segmentation
from tests.ops.ragged import CONDITIONS, moved, noise, right_padded, row_lengths, segment

TOKENS = torch.tensor([[6.0, 12.0, 24.0, 5.0]])
CUT = segmentation.from_starts(torch.ones(1, 4, dtype=torch.bool), starts=torch.tensor([[True, False, False, True]]))


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        ("sum", 42.0),
        ("equal", 14.0),
        ("unit", 24.0),
        ("first", 6.0),
        # H_3 = 1 + 1/2 + 1/3 = 11/6; late: (6/3 + 12/2 + 24) / H_3; early: (6 + 12/2 + 24/3) / H_3
        ("position", 32 * 6 / 11),
        ("position_early", 20 * 6 / 11),
    ],
)
def test_weights_by_hand(weights, expected):
    pooled = macro.pool_tokens(TOKENS, CUT, weights=weights)
    torch.testing.assert_close(pooled, torch.tensor([[expected, 5.0]]))


def test_discounted_sums_by_hand():
    pooled = macro.pool_tokens(TOKENS, CUT, weights="sum", discount=0.5)
    assert pooled.tolist() == [[18.0, 5.0]]  # 6 + 12/2 + 24/4


@pytest.mark.parametrize("weights", ["sum", "equal", "unit", "first", "position", "position_early"])
def test_padding_that_is_not_a_number_touches_neither_result_nor_gradient(weights):
    mask = right_padded([3, 0, 1], padding=1)
    x = noise(3, 4, seed=0).masked_fill(~mask, float("nan")).requires_grad_()
    pooled = macro.pool_tokens(x, segmentation.fixed_ngram(mask, n=2), weights=weights)
    assert pooled.isfinite().all()
    assert (pooled[1] == 0).all()
    pooled.sum().backward()
    assert x.grad.isfinite().all()
    assert (x.grad[~mask] == 0).all()


@pytest.mark.parametrize("condition", CONDITIONS)
@given(lengths=row_lengths, seed=st.integers(0, 99))
@settings(deadline=None, max_examples=40)
def test_summed_macro_rewards_add_up_to_the_token_rewards(condition, lengths, seed):
    mask = right_padded(lengths)
    rewards = noise(*mask.shape, seed=seed)
    cut = segment(condition, mask, rewards)
    pooled = macro.pool_tokens(rewards, cut, weights="sum")
    torch.testing.assert_close(pooled.sum(dim=1), (rewards * mask).sum(dim=1))
    assert (macro.lengths(cut).sum(dim=1) == mask.sum(dim=1)).all()


@pytest.mark.parametrize("weights", ["equal", "unit", "first", "position", "position_early"])
@given(lengths=row_lengths, seed=st.integers(0, 99))
@settings(deadline=None, max_examples=40)
def test_weights_other_than_sum_add_up_to_one(weights, lengths, seed):
    mask = right_padded(lengths)
    cut = segment("rise", mask, noise(*mask.shape, seed=seed))
    pooled = macro.pool_tokens(torch.ones(mask.shape).double(), cut, weights=weights)
    torch.testing.assert_close(pooled, cut.mask.double())


@given(lengths=row_lengths, seed=st.integers(0, 99))
@settings(deadline=None, max_examples=40)
def test_pooling_what_was_spread_gives_it_back(lengths, seed):
    mask = right_padded(lengths)
    cut = segment("ngrams", mask, noise(*mask.shape, seed=seed))
    values = noise(len(lengths), cut.width, seed=seed) * cut.mask
    spread = macro.spread(values, cut)
    assert (spread[~mask] == 0).all()
    torch.testing.assert_close(macro.pool_tokens(spread, cut, weights="equal"), values)


@pytest.mark.parametrize("weights", ["sum", "equal", "unit", "first", "position", "position_early"])
@given(lengths=row_lengths, left=st.integers(0, 3), right=st.integers(0, 3))
@settings(deadline=None, max_examples=20)
def test_padding_changes_nothing(weights, lengths, left, right):
    mask = right_padded(lengths)
    x = noise(*mask.shape, seed=3)
    pooled = macro.pool_tokens(x, segmentation.fixed_ngram(mask, n=3), weights=weights)
    wide_mask = torch.nn.functional.pad(mask, (left, right))
    wide_x = moved(x, mask, left=left, right=right, fill=float("nan"))
    wide_cut = segmentation.fixed_ngram(wide_mask, n=3)
    torch.testing.assert_close(macro.pool_tokens(wide_x, wide_cut, weights=weights), pooled)


def test_one_token_each_is_no_change_whatever_the_weights():
    mask = right_padded([4, 2])
    x = noise(2, 4, seed=0) * mask
    cut = segmentation.fixed_ngram(mask, n=1)
    for weights in ("sum", "equal", "unit", "first", "position", "position_early"):
        assert (macro.pool_tokens(x, cut, weights=weights) == x).all()
    assert (macro.spread(x, cut) == x).all()


def test_gradients_flow_back_through_spreading():
    values = torch.zeros(1, 2, requires_grad=True)
    macro.spread(values, CUT).sum().backward()
    assert values.grad.tolist() == [[3.0, 1.0]]


def test_half_precision_is_raised_before_it_is_summed():
    mask = torch.ones(1, 4096, dtype=torch.bool)
    cut = segmentation.fixed_ngram(mask, n=None)
    pooled = macro.pool_tokens(torch.ones(1, 4096).bfloat16(), cut, weights="sum")
    assert pooled.tolist() == [[4096.0]]
    assert pooled.dtype == torch.float32


def test_unusable_options_are_refused_with_what_was_got():
    with pytest.raises(ValueError, match=r"weights: expected one of .*got 'mean'"):
        inspect.unwrap(macro.pool_tokens)(TOKENS, CUT, weights="mean")
    with pytest.raises(ValueError, match=r"discount: expected 1\.0 with weights='equal'.*got 0.9"):
        macro.pool_tokens(TOKENS, CUT, weights="equal", discount=0.9)
