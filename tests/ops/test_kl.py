"""KL estimators and the token rewards made of them."""

import inspect
import math

import pytest
import torch

from lightning_marlhf.ops import kl
from tests.ops.ragged import noise, right_padded

ESTIMATORS = ["k1", "k2", "k3"]


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_kl_is_zero_for_the_reference_itself(estimator):
    logprobs = noise(3, 5, seed=0)
    assert (kl.estimate(logprobs, logprobs, estimator=estimator) == 0).all()


@pytest.mark.parametrize("estimator", ["k1", "k3"])
def test_the_mean_over_the_policys_own_samples_is_the_exact_kl(estimator):
    policy, reference = torch.tensor([0.7, 0.2, 0.1]), torch.tensor([0.3, 0.3, 0.4])
    exact = sum(p * math.log(p / q) for p, q in [(0.7, 0.3), (0.2, 0.3), (0.1, 0.4)])
    estimates = kl.estimate(policy.log()[None], reference.log()[None], estimator=estimator)
    torch.testing.assert_close((policy * estimates[0]).sum(), torch.tensor(exact))


def test_k2_and_k3_are_never_negative():
    one, two = noise(20, 20, seed=1), noise(20, 20, seed=2)
    assert (kl.estimate(one, two, estimator="k2") >= 0).all()
    assert (kl.estimate(one, two, estimator="k3") >= 0).all()


def test_k3_stays_finite_where_the_probabilities_are_far_apart():
    # log-ratio -500: exp(500) would be infinite; clamped at exp(20).
    estimate = kl.estimate(torch.tensor([[-500.0]]), torch.tensor([[0.0]]), estimator="k3")
    torch.testing.assert_close(estimate.item(), math.exp(20) - 1 - 500, rtol=1e-6, atol=0)


def test_the_difference_is_taken_after_raising_half_precision():
    # 8 - 8.0625 cannot be told from 0 if bfloat16's sums are rounded to bfloat16; the inputs can.
    one, two = torch.tensor([[-8.0]]).bfloat16(), torch.tensor([[-8.0625]]).bfloat16()
    estimate = kl.estimate(one, two, estimator="k2")
    assert estimate.dtype == torch.float32
    assert estimate.item() == 0.0625**2 / 2


def test_an_unknown_estimator_is_refused():
    with pytest.raises(ValueError, match='expected "k1", "k2" or "k3", got \'k4\''):
        inspect.unwrap(kl.estimate)(torch.zeros(1, 1), torch.zeros(1, 1), estimator="k4")


def test_rewards_are_penalties_with_the_score_on_the_last_real_token():
    mask = torch.tensor([[True, True, False], [True, True, True], [True, False, False]])
    divergence = torch.tensor([[1.0, 2.0, float("nan")], [0.0, -1.0, 4.0], [2.0, 9.0, 9.0]])
    rewards = kl.token_rewards(divergence, torch.tensor([10.0, 20.0, 30.0]), mask, coefficient=0.5)
    # rows: -0.5 * 1, 10 - 0.5 * 2 | 0, 0.5, 20 - 0.5 * 4 | 30 - 0.5 * 2
    assert rewards.tolist() == [[-0.5, 9.0, 0.0], [0.0, 0.5, 18.0], [29.0, 0.0, 0.0]]


def test_a_row_without_tokens_gets_no_reward_and_no_nan():
    mask = right_padded([0, 2])
    scores = torch.tensor([float("nan"), 1.0])
    rewards = kl.token_rewards(torch.ones(2, 2), scores, mask, coefficient=0.25)
    assert rewards.tolist() == [[0.0, 0.0], [-0.25, 0.75]]
