"""Advantages and returns over macro actions."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_marlhf.ops import gae, macro, segmentation
from tests.ops.ragged import noise, right_padded, row_lengths, segment
from tests.reference import token_ppo


def estimate(rewards, values, macro_actions, **options):
    return gae.advantages_and_returns(rewards, values, macro_actions, **options)


def test_advantages_by_hand_with_the_last_real_macro_action_ending_the_response():
    cut = segmentation.fixed_ngram(right_padded([6, 3]), n=2)
    rewards = torch.tensor([[1.0, 0.0, 2.0], [4.0, 1.0, 77.0]])
    values = torch.tensor([[3.0, 1.0, 2.0], [2.0, 5.0, 88.0]])
    result = estimate(rewards, values, cut, gamma=0.5, lam=0.5)
    # row one: deltas 1 + 0.5 - 3 = -1.5, 0 + 1 - 1 = 0, 2 - 2 = 0; decay 0.25
    # row two: deltas 4 + 2.5 - 2 = 4.5, 1 - 5 = -4; 4.5 + 0.25 * -4 = 3.5
    assert result.advantages.tolist() == [[-1.5, 0.0, 0.0], [3.5, -4.0, 0.0]]
    assert result.returns.tolist() == [[1.5, 1.0, 2.0], [5.5, 1.0, 0.0]]


def test_missing_macro_actions_may_hold_anything():
    cut = segmentation.fixed_ngram(right_padded([4, 1, 0]), n=2)
    nan = float("nan")
    rewards = torch.tensor([[1.0, 2.0], [3.0, nan], [nan, nan]])
    result = estimate(rewards, rewards, cut, gamma=1.0, lam=0.95)
    assert result.advantages[1:].tolist() == [[0.0, 0.0], [0.0, 0.0]]
    assert result.returns[1:].tolist() == [[3.0, 0.0], [0.0, 0.0]]


def test_no_macro_action_at_all_is_harmless():
    cut = segmentation.fixed_ngram(right_padded([0, 0], padding=3), n=2)
    result = estimate(torch.zeros(2, 0), torch.zeros(2, 0), cut, gamma=1.0, lam=0.95)
    assert result.advantages.shape == (2, 0)


@given(
    lengths=row_lengths,
    seed=st.integers(0, 99),
    gamma=st.sampled_from([1.0, 0.9]),
    lam=st.sampled_from([0.0, 0.95, 1.0]),
)
@settings(deadline=None, max_examples=60)
def test_macro_actions_of_one_token_are_token_ppo(lengths, seed, gamma, lam):
    mask = right_padded(lengths)
    rewards, values = noise(*mask.shape, seed=seed), noise(*mask.shape, seed=seed + 1)
    cut = segmentation.fixed_ngram(mask, n=1)
    pooled = (macro.pool_tokens(x, cut, weights="equal") for x in (rewards, values))
    result = estimate(*pooled, cut, gamma=gamma, lam=lam)
    for row, length in enumerate(lengths):
        arguments = (rewards[row, :length].tolist(), values[row, :length].tolist(), gamma, lam)
        expected = torch.tensor(token_ppo.advantages(*arguments), dtype=torch.float64)
        torch.testing.assert_close(result.advantages[row, :length], expected)
        expected = torch.tensor(token_ppo.returns(*arguments), dtype=torch.float64)
        torch.testing.assert_close(result.returns[row, :length], expected)


@pytest.mark.parametrize("width", [1, 2, 3, 7, 8, 9, 64, 513])
def test_doubling_is_the_recursion_for_any_width(width):
    mask = torch.ones(2, width, dtype=torch.bool)
    rewards, values = noise(2, width, seed=0), noise(2, width, seed=1)
    discounts = torch.rand(2, width, dtype=torch.float64)
    cut = segmentation.fixed_ngram(mask, n=1)
    result = estimate(rewards, values, cut, gamma=discounts, lam=0.9)
    advantage, next_value = torch.zeros(2).double(), torch.zeros(2).double()
    for t in reversed(range(width)):
        delta = rewards[:, t] + discounts[:, t] * next_value - values[:, t]
        advantage = delta + discounts[:, t] * 0.9 * advantage
        next_value = values[:, t]
        torch.testing.assert_close(result.advantages[:, t], advantage)


def test_float32_stays_near_float64_over_long_responses():
    mask = torch.ones(4, 2048, dtype=torch.bool)
    rewards, values = noise(4, 2048, seed=0), noise(4, 2048, seed=1)
    cut = segmentation.fixed_ngram(mask, n=1)
    exact = estimate(rewards, values, cut, gamma=1.0, lam=1.0).advantages
    rounded = estimate(rewards.float(), values.float(), cut, gamma=1.0, lam=1.0).advantages
    assert rounded.dtype == torch.float32
    torch.testing.assert_close(rounded.double(), exact, rtol=1e-4, atol=1e-4)


def test_half_precision_comes_out_as_float32():
    cut = segmentation.fixed_ngram(right_padded([3]), n=1)
    ones = torch.ones(1, 3).bfloat16()
    assert estimate(ones, ones, cut, gamma=1.0, lam=0.95).advantages.dtype == torch.float32


@given(lengths=row_lengths, seed=st.integers(0, 99), gamma=st.sampled_from([0.9, 0.5]))
@settings(deadline=None, max_examples=40)
def test_semi_markov_returns_are_the_discounted_token_rewards_whatever_the_macro_actions(lengths, seed, gamma):
    mask = right_padded(lengths)
    rewards = noise(*mask.shape, seed=seed) * mask
    for condition in ("n=1", "n=3", "rise", "whole"):
        cut = segment(condition, mask, rewards)
        discounts = gae.semi_markov_discounts(cut, gamma=gamma)
        pooled = macro.pool_tokens(rewards, cut, weights="sum", discount=gamma)
        values = noise(len(lengths), cut.width, seed=seed)
        result = estimate(pooled, values, cut, gamma=discounts, lam=1.0)
        powers = gamma ** torch.arange(mask.shape[1], dtype=torch.float64)
        if cut.width:
            expected = (rewards * powers).sum(dim=1)
            torch.testing.assert_close(result.returns[:, 0], expected, rtol=1e-5, atol=1e-5)


def test_the_two_ways_to_count_gamma_agree_at_one():
    mask = right_padded([9, 4])
    cut = segmentation.fixed_ngram(mask, n=2)
    rewards, values = noise(2, cut.width, seed=0), noise(2, cut.width, seed=1)
    discounts = gae.semi_markov_discounts(cut, gamma=1.0)
    one = estimate(rewards, values, cut, gamma=1.0, lam=0.95).advantages
    two = estimate(rewards, values, cut, gamma=discounts, lam=0.95).advantages
    assert (one == two).all()
