"""Means, variances and whitening over real elements; the mean of a batch however it is cut."""

import inspect
from functools import reduce

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_marlhf.ops import masking
from tests.ops.ragged import noise, right_padded, row_lengths

NAN = float("nan")


def test_mean_and_variance_leave_padding_out():
    x = torch.tensor([[1.0, 2.0, NAN], [6.0, NAN, NAN]])
    mask = torch.tensor([[True, True, False], [True, False, False]])
    assert masking.moments(x, mask).mean == 3.0  # (1 + 2 + 6) / 3
    torch.testing.assert_close(masking.moments(x, mask).var, torch.tensor(14 / 3))  # (4 + 1 + 9) / 3


def test_padding_gets_no_gradient_even_where_it_is_not_a_number():
    x = torch.tensor([1.0, NAN], requires_grad=True)
    masking.moments(x, torch.tensor([True, False])).mean.backward()
    assert x.grad.tolist() == [1.0, 0.0]


def test_an_empty_mask_gives_zero_everywhere():
    x, mask = torch.full((2, 3), NAN), torch.zeros(2, 3, dtype=torch.bool)
    assert masking.moments(x, mask).mean == 0
    assert masking.moments(x, mask).var == 0
    assert masking.reduce_mean(x, mask, reduction="token") == 0
    assert masking.reduce_mean(x, mask, reduction="sequence") == 0
    assert masking.reduce_mean(x, mask, reduction="token", total=0.0) == 0
    assert masking.reduce_mean(x, mask, reduction="token", total=torch.tensor(0.0)) == 0


def test_a_batch_without_columns_is_harmless():
    mask = torch.zeros(2, 0, dtype=torch.bool)
    assert masking.last_token(mask).shape == (2, 0)
    assert masking.reduce_mean(torch.zeros(2, 0), mask, reduction="sequence") == 0


def test_whitened_elements_have_mean_zero_and_variance_one():
    x, mask = noise(8, 16, seed=0) * 3 + 5, right_padded([16, 3, 1, 0, 9, 16, 2, 7])
    mean, var = masking.moments(x, mask).mean, masking.moments(x, mask).var
    whitened = masking.whiten(x, mask, mean=mean, var=var)
    torch.testing.assert_close(masking.moments(whitened, mask).mean, torch.tensor(0.0).double())
    torch.testing.assert_close(masking.moments(whitened, mask).var, torch.tensor(1.0).double())
    assert (whitened[~mask] == 0).all()


def test_equal_elements_whiten_to_zero_not_to_nan():
    x, mask = torch.full((1, 3), 7.0), torch.ones(1, 3, dtype=torch.bool)
    whitened = masking.whiten(x, mask, mean=torch.tensor(7.0), var=torch.tensor(0.0))
    assert (whitened == 0).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_raised_before_anything_is_summed(dtype):
    # 4096 ones add up to 4096; in bfloat16 a running sum stops at 256.
    x, mask = torch.ones(1, 4096, dtype=dtype), torch.ones(1, 4096, dtype=torch.bool)
    loss = masking.reduce_mean(x, mask, reduction="token", total=1.0)
    assert loss == 4096
    assert loss.dtype == torch.float32


def test_float64_stays_float64():
    x, mask = noise(2, 3, seed=0), torch.ones(2, 3, dtype=torch.bool)
    assert masking.reduce_mean(x, mask, reduction="sequence").dtype == torch.float64


@given(row_lengths, st.sampled_from(["token", "sequence"]), st.data())
@settings(deadline=None, max_examples=100)
def test_a_batch_cut_anyhow_has_the_same_mean_and_gradient(lengths, reduction, data):
    mask = right_padded(lengths)
    terms = noise(*mask.shape, seed=1).requires_grad_()
    whole = masking.reduce_mean(terms, mask, reduction=reduction)
    (gradient,) = torch.autograd.grad(whole, terms)
    cut = data.draw(st.integers(1, len(lengths)))
    total = sum(masking.count(part, reduction=reduction) for part in mask.split(cut))
    parts = [
        masking.reduce_mean(part, part_mask, reduction=reduction, total=total)
        for part, part_mask in zip(terms.split(cut), mask.split(cut), strict=True)
    ]
    torch.testing.assert_close(torch.stack(parts).sum(), whole.detach())
    (cut_gradient,) = torch.autograd.grad(sum(parts), terms)
    torch.testing.assert_close(cut_gradient, gradient)


def test_eight_times_one_is_one_times_eight_where_a_mean_of_means_is_not():
    mask = right_padded([1, 2, 3, 4, 5, 6, 7, 8])
    terms = noise(8, 8, seed=2)
    whole = masking.reduce_mean(terms, mask, reduction="token")
    rows = list(zip(terms.split(1), mask.split(1), strict=True))
    exact = [masking.reduce_mean(t, m, reduction="token", total=36.0) for t, m in rows]
    naive = [masking.reduce_mean(t, m, reduction="token") / 8 for t, m in rows]
    torch.testing.assert_close(sum(exact), whole)
    assert (sum(naive) - whole).abs() > 1e-3


def test_an_unknown_reduction_is_refused():
    mask = torch.ones(1, 1, dtype=torch.bool)
    with pytest.raises(ValueError, match='expected "token" or "sequence", got \'mean\''):
        inspect.unwrap(masking.reduce_mean)(torch.ones(1, 1), mask, reduction="mean", total=1.0)


def test_moments_of_parts_join_to_those_of_the_whole_in_any_order():
    x, mask = noise(6, 9, seed=0) + 100, right_padded([9, 0, 3, 1, 5, 9])
    parts = [masking.moments(x[rows], mask[rows]) for rows in (slice(0, 1), slice(1, 2), slice(2, 6))]
    for order in ((0, 1, 2), (2, 1, 0), (1, 0, 2)):
        first, *others = (parts[part] for part in order)
        joined = reduce(masking.join, others, first)
        real = x[mask]
        assert joined.count == len(real)
        torch.testing.assert_close(joined.mean, real.mean())
        torch.testing.assert_close(joined.var, real.var(correction=0))


def test_two_empty_sets_join_to_an_empty_one():
    empty = masking.moments(torch.zeros(2), torch.zeros(2, dtype=torch.bool))
    joined = masking.join(empty, empty)
    assert (joined.count, joined.mean, joined.var) == (0, 0, 0)
