"""Loss terms by hand, against an independent PPO, and where their gradients are zero."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_marlhf.ops import losses, macro, masking, segmentation
from tests.ops.ragged import noise, right_padded
from tests.reference import token_ppo

numbers = st.floats(-3, 3, allow_subnormal=False)


def test_terms_at_the_first_step_are_minus_the_advantage_because_the_ratio_is_one():
    logprobs, advantages = noise(2, 5, seed=0), noise(2, 5, seed=1)
    assert (losses.probability_ratio(logprobs, logprobs) == 1).all()
    assert (losses.policy_terms(logprobs, logprobs, advantages, clip_range=0.2) == -advantages).all()
    cut = segmentation.fixed_ngram(right_padded([5, 3], padding=0), n=2)
    macro_advantages = noise(2, cut.width, seed=2)
    terms = losses.macro_policy_terms(logprobs, logprobs, macro_advantages, cut, clip_range=0.2)
    assert (terms == -macro_advantages).all()


@given(numbers, numbers, numbers)
@settings(deadline=None, max_examples=200)
def test_policy_terms_are_those_of_an_independent_ppo(logprob, old, advantage):
    terms = losses.policy_terms(
        *(torch.tensor([[x]], dtype=torch.float64) for x in (logprob, old, advantage)), clip_range=0.2
    )
    expected = token_ppo.policy_term(logprob, old, advantage, 0.2)
    assert terms.item() == pytest.approx(expected, rel=1e-9, abs=1e-12)


@given(numbers, numbers, numbers)
@settings(deadline=None, max_examples=200)
def test_value_terms_are_those_of_an_independent_ppo(value, old, target):
    terms = losses.value_terms(
        *(torch.tensor([[x]], dtype=torch.float64) for x in (value, old, target)), clip_range=0.2
    )
    expected = token_ppo.value_term(value, old, target, 0.2)
    assert terms.item() == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_the_policy_gets_no_gradient_where_clipping_acts():
    # ratios 2 and 1/2 with either sign of the advantage
    new = torch.tensor([[2.0, 2.0, 0.5, 0.5]]).log().requires_grad_()
    advantages = torch.tensor([[1.0, -1.0, 1.0, -1.0]])
    losses.policy_terms(new, torch.zeros(1, 4), advantages, clip_range=0.2).sum().backward()
    torch.testing.assert_close(new.grad, torch.tensor([[0.0, 2.0, -0.5, 0.0]]))


def test_a_clipped_macro_action_gives_none_of_its_tokens_a_gradient():
    # ratios 1.5 * 0.6 = 0.9 is inside; 1.5 * 1.5 = 2.25 is outside
    new = torch.tensor([[1.5, 0.6, 1.5, 1.5]]).log().requires_grad_()
    cut = segmentation.fixed_ngram(torch.ones(1, 4, dtype=torch.bool), n=2)
    terms = losses.macro_policy_terms(new, torch.zeros(1, 4), torch.ones(1, 2), cut, clip_range=0.2)
    torch.testing.assert_close(terms, torch.tensor([[-0.9, -1.2]]))
    terms.sum().backward()
    torch.testing.assert_close(new.grad, torch.tensor([[-0.9, -0.9, 0.0, 0.0]]))


def test_the_critic_gets_no_gradient_where_clipping_acts():
    values = torch.tensor([[1.0, 1.0, 0.1]], requires_grad=True)
    returns = torch.tensor([[3.0, -3.0, 3.0]])
    terms = losses.value_terms(values, torch.zeros(1, 3), returns, clip_range=0.5)
    # moved 1 towards 3: clipped 0.5 is farther, 2.5^2 / 2; away from -3: unclipped is farther
    torch.testing.assert_close(terms, torch.tensor([[3.125, 8.0, 4.205]]))
    terms.sum().backward()
    torch.testing.assert_close(values.grad, torch.tensor([[0.0, 4.0, -2.9]]))


def test_without_a_clip_range_the_value_term_is_half_the_squared_error():
    values, old, returns = (noise(2, 3, seed=seed) for seed in range(3))
    terms = losses.value_terms(values, old, returns, clip_range=None)
    torch.testing.assert_close(terms, (values - returns) ** 2 / 2)


def test_token_and_macro_ratios_agree_for_macro_actions_of_one_token():
    mask = right_padded([4, 2])
    new, old, advantages = (noise(2, 4, seed=seed) for seed in range(3))
    cut = segmentation.fixed_ngram(mask, n=1)
    by_token = losses.policy_terms(new, old, advantages * mask, clip_range=0.2) * mask
    by_macro = losses.macro_policy_terms(new, old, advantages * mask, cut, clip_range=0.2)
    torch.testing.assert_close(by_macro, by_token)


def test_an_extreme_log_ratio_stays_finite():
    new = torch.tensor([[300.0, -300.0]], requires_grad=True)
    terms = losses.policy_terms(new, torch.zeros(1, 2), torch.tensor([[-1.0, 0.0]]), clip_range=0.2)
    terms.sum().backward()
    assert terms.isfinite().all()
    assert new.grad.isfinite().all()


def test_half_precision_inputs_give_float32_terms():
    half = torch.full((1, 2), -1.0, dtype=torch.bfloat16)
    advantages = torch.ones(1, 2)
    assert losses.policy_terms(half, half, advantages, clip_range=0.2).dtype == torch.float32
    assert losses.value_terms(half, half, advantages, clip_range=0.2).dtype == torch.float32
    assert losses.reward_ranking_terms(half[0], half[0]).dtype == torch.float32


@given(st.lists(st.integers(0, 9), min_size=4, max_size=4), st.sampled_from([1, 3, None]))
@settings(deadline=None, max_examples=40)
def test_rows_in_one_batch_or_one_by_one_give_the_same_loss_and_gradient(lengths, n):
    mask = right_padded(lengths, padding=1)
    new = noise(*mask.shape, seed=0).requires_grad_()
    old, rewards = noise(*mask.shape, seed=1), noise(*mask.shape, seed=2)
    for reduction in ("token", "sequence"):
        whole = ppo_loss(new, old, rewards, mask, n, reduction, total=None)
        total = masking.count(mask, reduction=reduction)
        rows = [slice(row, row + 1) for row in range(4)]
        parts = [ppo_loss(new[r], old[r], rewards[r], mask[r], n, reduction, total=total) for r in rows]
        torch.testing.assert_close(sum(parts), whole)
        torch.testing.assert_close(torch.autograd.grad(sum(parts), new)[0], torch.autograd.grad(whole, new)[0])


def ppo_loss(new, old, rewards, mask, n, reduction, total):
    cut = segmentation.fixed_ngram(mask, n=n)
    advantages = macro.spread(macro.pool_tokens(rewards, cut, weights="sum"), cut)
    terms = losses.policy_terms(new, old, advantages, clip_range=0.2)
    return masking.reduce_mean(terms, mask, reduction=reduction, total=total)


def test_sft_learns_the_response_and_the_prompt_as_much_as_asked_for():
    response = torch.tensor([[False, True, True, False]])
    attention = torch.tensor([[True, True, True, False]])
    logprobs = torch.tensor([[-4.0, -1.0, -2.0, float("nan")]])
    for prompt_weight, expected in ((0.0, 1.5), (0.5, 5 / 2.5), (1.0, 7 / 3)):
        weights = losses.sft_weights(response, attention, prompt_weight=prompt_weight)
        terms = losses.sft_terms(logprobs, weights)
        loss = masking.reduce_mean(terms, weights > 0, reduction="token", total=weights.sum())
        assert loss.item() == pytest.approx(expected)


def test_ranking_terms_by_hand():
    terms = losses.reward_ranking_terms(torch.tensor([1.0, 0.0, 200.0]), torch.tensor([0.0, 1.0, 0.0]))
    expected = [math.log(1 + math.exp(-1)), math.log(1 + math.e), 0.0]
    torch.testing.assert_close(terms, torch.tensor(expected))


def test_the_per_token_ranking_counts_from_the_first_difference_to_the_longer_end():
    chosen_ids = torch.tensor([[5, 6, 7, 8, 0]])
    rejected_ids = torch.tensor([[5, 9, 0, 0, 0]])
    chosen_mask, rejected_mask = right_padded([4], padding=1), right_padded([2], padding=3)
    chosen = torch.tensor([[9.0, 1.0, 2.0, 3.0, 99.0]])
    rejected = torch.tensor([[0.0, 0.0, 0.0, 1.0, -99.0]])
    terms = losses.reward_ranking_token_terms(chosen, rejected, chosen_ids, rejected_ids, chosen_mask, rejected_mask)
    # tokens 1, 2, 3 with gaps 1, 2, 2: padding of the shorter response counts, as in DeepSpeed-Chat
    expected = sum(math.log(1 + math.exp(-gap)) for gap in (1, 2, 2)) / 3
    torch.testing.assert_close(terms, torch.tensor([expected]))


def test_the_per_token_ranking_counts_tokens_that_agree_again_after_the_first_difference():
    chosen_ids, rejected_ids = torch.tensor([[5, 6, 7, 8]]), torch.tensor([[5, 9, 7, 8]])
    gaps, mask = torch.tensor([[9.0, 1.0, 2.0, 3.0]]), right_padded([4])
    terms = losses.reward_ranking_token_terms(gaps, torch.zeros(1, 4), chosen_ids, rejected_ids, mask, mask)
    expected = sum(math.log(1 + math.exp(-gap)) for gap in (1, 2, 3)) / 3
    torch.testing.assert_close(terms, torch.tensor([expected]))


def test_the_per_token_ranking_starts_where_one_answer_ends_first():
    ids = torch.tensor([[5, 6, 0, 0]])  # the same, and then the pad token's id as a real token
    gaps = torch.tensor([[7.0, 7.0, 1.0, 2.0]])
    terms = losses.reward_ranking_token_terms(
        gaps, torch.zeros(1, 4), ids, ids, right_padded([4]), right_padded([2], padding=2)
    )
    expected = sum(math.log(1 + math.exp(-gap)) for gap in (1, 2)) / 2
    torch.testing.assert_close(terms, torch.tensor([expected]))


def test_equal_answers_count_their_last_token_and_empty_rows_nothing():
    ids, mask = torch.tensor([[5, 6, 0], [0, 0, 0]]), right_padded([2, 0], padding=1)
    rewards = torch.full((2, 3), float("nan"))
    rewards[0, :2] = 3.0
    terms = losses.reward_ranking_token_terms(rewards, rewards, ids, ids, mask, mask)
    torch.testing.assert_close(terms, torch.tensor([math.log(2), 0.0]))
    others = rewards - torch.tensor([9.0, 1.0, 0.0])
    terms = losses.reward_ranking_token_terms(rewards, others, ids, ids, mask, mask)
    torch.testing.assert_close(terms[0].item(), math.log(1 + math.exp(-1)), rtol=1e-6, atol=0)


def test_what_stands_outside_the_counted_tokens_gets_no_gradient_and_gives_no_nan():
    chosen_ids, rejected_ids = torch.tensor([[5, 6, 0]]), torch.tensor([[5, 9, 0]])
    chosen = torch.tensor([[float("nan"), 0.0, float("nan")]], requires_grad=True)
    mask = right_padded([2], padding=1)
    losses.reward_ranking_token_terms(chosen, torch.zeros(1, 3), chosen_ids, rejected_ids, mask, mask).sum().backward()
    assert chosen.grad.tolist() == [[0.0, -0.5, 0.0]]  # -sigmoid(0)
