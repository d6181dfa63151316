"""Advantages and returns over macro actions (paper, sec. 3.2; GAE: arXiv 1506.02438).

    delta_tau = R_tau + gamma * V_{tau+1} - V_tau
    A_tau = delta_tau + gamma * lambda * A_{tau+1}
    return_tau = A_tau + V_tau

The state after a row's last macro action is the end of the response and has value 0: a response
that was cut off is not bootstrapped, in the paper and in the released code.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from lightning_marlhf.ops import macro
from lightning_marlhf.ops.masking import zero_padding
from lightning_marlhf.types import MacroActions


@dataclass(frozen=True)
class AdvantagesAndReturns:
    """Advantages and returns; 0 if the row has no such macro action."""

    advantages: Float[Tensor, "batch macro"]
    returns: Float[Tensor, "batch macro"]


def advantages_and_returns(
    macro_rewards: Float[Tensor, "batch macro"],
    macro_values: Float[Tensor, "batch macro"],
    macro_actions: MacroActions,
    *,
    gamma: float | Float[Tensor, "batch macro"],
    lam: float,
) -> AdvantagesAndReturns:
    """Estimate advantages over macro actions by GAE.

    Args:
        macro_rewards: Pooled rewards; columns past a row's count are ignored.
        macro_values: Pooled values of the old critic.
        macro_actions: Says how many macro actions each row has.
        gamma: Discount per macro action (as released), or one for each (``semi_markov_discounts``).
        lam: GAE's lambda, counted per macro action.

    Returns:
        Advantages and returns, 0 if the row has no such macro action.

    >>> from lightning_marlhf.ops.segmentation import fixed_ngram
    >>> macro_actions = fixed_ngram(torch.tensor([[True, True, True], [True, False, False]]), n=2)
    >>> rewards = torch.tensor([[1.0, 2.0], [3.0, 99.0]])
    >>> values = torch.tensor([[4.0, 8.0], [1.0, 99.0]])
    >>> result = advantages_and_returns(rewards, values, macro_actions, gamma=1.0, lam=0.5)
    >>> result.advantages.tolist()  # deltas 5 and -6, 5 + 0.5 * -6 = 2; row two: 3 - 1
    [[2.0, -6.0], [2.0, 0.0]]
    >>> result.returns.tolist()
    [[6.0, 2.0], [3.0, 0.0]]
    """
    rewards = zero_padding(macro_rewards, macro_actions.mask)
    values = zero_padding(macro_values, macro_actions.mask)
    if isinstance(gamma, Tensor):
        gamma = gamma.to(rewards.dtype)
    deltas = rewards - values + gamma * _shift_left(values, 1)
    advantages = _discounted_sums(deltas, gamma * lam)
    return AdvantagesAndReturns(advantages, advantages + values)


def semi_markov_discounts(macro_actions: MacroActions, *, gamma: float) -> Float[Tensor, "batch macro"]:
    """Discount per token instead of per macro action: gamma^|omega| for each macro action omega.

    To be used with rewards pooled by ``pool_tokens(..., weights="sum", discount=gamma)``, so that a reward weighs
    gamma^t whatever the macro actions are. Equal to gamma = 1 per macro action at gamma = 1.

    >>> from lightning_marlhf.ops.segmentation import fixed_ngram
    >>> macro_actions = fixed_ngram(torch.tensor([[True, True, True]]), n=2)
    >>> semi_markov_discounts(macro_actions, gamma=0.5).tolist()
    [[0.25, 0.5]]
    """
    discounts: Tensor = gamma ** macro.lengths(macro_actions).to(torch.float32)
    return discounts


def _discounted_sums(
    deltas: Float[Tensor, "batch macro"], decay: float | Float[Tensor, "batch macro"]
) -> Float[Tensor, "batch macro"]:
    """Solve A_t = delta_t + decay_t * A_{t+1} in log2(macro) steps.

    After k steps ``sums`` holds the first 2^k addends of each A_t, and ``decay`` the factor of the next one.
    """
    sums, reach = deltas, 1
    while reach < deltas.shape[1]:
        sums = sums + decay * _shift_left(sums, reach)
        decay = decay * (_shift_left(decay, reach) if isinstance(decay, Tensor) else decay)
        reach *= 2
    return sums


def _shift_left(x: Float[Tensor, "batch macro"], places: int) -> Float[Tensor, "batch macro"]:
    """Move columns to the left, 0 coming in from the right."""
    return torch.nn.functional.pad(x[:, places:], (0, min(places, x.shape[1])))
