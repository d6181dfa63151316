"""Loss terms of every stage: one number per token, macro action or row, before any mean is taken.

``masking.reduce_mean`` takes the mean, leaving padding out. All terms are minimised, and in
float32 or better. Nothing here detaches: inputs without gradient (old log-probabilities,
advantages, returns) must come detached.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lightning_marlhf.ops.kl import MAX_LOG_RATIO
from lightning_marlhf.ops.macro import pool_tokens
from lightning_marlhf.ops.masking import at_least_float32, last_token, zero_padding
from lightning_marlhf.types import MacroActions


def sft_weights(
    response_mask: Bool[Tensor, "batch sequence"],
    attention_mask: Bool[Tensor, "batch sequence"],
    *,
    prompt_weight: float,
    padding_weight: float = 0.0,
) -> Float[Tensor, "batch sequence"]:
    """Weigh response tokens 1, prompt tokens ``prompt_weight`` and padding ``padding_weight``.

    Args:
        response_mask: True on response tokens up to and including EOS.
        attention_mask: True on prompt and response.
        prompt_weight: 0 learns the response only, 1 prompt and response alike (the released code's).
        padding_weight: 1 learns to predict padding after EOS too, as the released code does
            (``training/step1*/main.py`` labels every position); anything but 0 is a defect.

    >>> response = torch.tensor([[False, True, False]])
    >>> attention = torch.tensor([[True, True, False]])
    >>> sft_weights(response, attention, prompt_weight=0.5).tolist()
    [[0.5, 1.0, 0.0]]
    """
    prompt_mask = attention_mask & ~response_mask
    weights = response_mask.to(torch.float32) + prompt_weight * prompt_mask
    return weights + padding_weight * ~attention_mask


def sft_terms(
    logprobs: Float[Tensor, "batch sequence"], weights: Float[Tensor, "batch sequence"]
) -> Float[Tensor, "batch sequence"]:
    """Return the weighted negative log-likelihood of each token; 0 where the weight is 0.

    The mean over the batch is ``reduce_mean(terms, weights > 0, reduction="token", total=weights.sum())``.

    >>> sft_terms(torch.tensor([[-2.0, -3.0]]), torch.tensor([[0.5, 1.0]])).tolist()
    [[1.0, 3.0]]
    """
    return zero_padding(logprobs, weights > 0) * -weights


def reward_ranking_terms(
    chosen_rewards: Float[Tensor, " batch"], rejected_rewards: Float[Tensor, " batch"]
) -> Float[Tensor, " batch"]:
    """Bradley-Terry: -log sigmoid(r(chosen) - r(rejected)), one term per pair (paper, eq. 1).

    >>> reward_ranking_terms(torch.tensor([2.0]), torch.tensor([2.0])).item()  # log 2
    0.6931471824645996
    """
    return _negative_log_sigmoid(at_least_float32(chosen_rewards) - at_least_float32(rejected_rewards))


def reward_ranking_token_terms(
    chosen_rewards: Float[Tensor, "batch sequence"],
    rejected_rewards: Float[Tensor, "batch sequence"],
    chosen_ids: Int[Tensor, "batch sequence"],
    rejected_ids: Int[Tensor, "batch sequence"],
    chosen_mask: Bool[Tensor, "batch sequence"],
    rejected_mask: Bool[Tensor, "batch sequence"],
) -> Float[Tensor, " batch"]:
    """Average the ranking loss over the tokens from the first that differs to the longer one's end.

    This is DeepSpeed-Chat's, and so that of the released reward models (``dschat/utils/model/reward_model.py``,
    ``forward``). Where one response has ended, its padding positions still count, as there. Two equal responses count
    with one token, the last, and so with log 2.

    Args:
        chosen_rewards: A reward at every token.
        rejected_rewards: The same for the other response.
        chosen_ids: Prompt and preferred response, right-padded.
        rejected_ids: Prompt and the other response, right-padded.
        chosen_mask: True on prompt, response and EOS.
        rejected_mask: The same for the other response.

    Returns:
        One term per pair; 0 for a row without any token.

    >>> mask = torch.tensor([[True, True, False]])
    >>> chosen, rejected = torch.tensor([[5, 6, 0]]), torch.tensor([[5, 7, 0]])
    >>> rewards = torch.tensor([[9.0, 1.0, 9.0]])
    >>> reward_ranking_token_terms(rewards, rewards, chosen, rejected, mask, mask).tolist()  # log 2
    [0.6931471824645996]
    """
    either = chosen_mask | rejected_mask
    differs = ((chosen_ids != rejected_ids) | (chosen_mask != rejected_mask)) & either
    counted = differs.cumsum(dim=1).bool() & either
    counted = torch.where(counted.any(dim=1, keepdim=True), counted, last_token(either))
    gaps = at_least_float32(chosen_rewards) - at_least_float32(rejected_rewards)
    terms = zero_padding(_negative_log_sigmoid(zero_padding(gaps, counted)), counted)
    return terms.sum(dim=1) / counted.sum(dim=1).clamp(min=1)


def probability_ratio(
    logprobs: Float[Tensor, "*shape"], old_logprobs: Float[Tensor, "*shape"]
) -> Float[Tensor, "*shape"]:
    """Divide new by old probability, the log-ratio being at most ``kl.MAX_LOG_RATIO``.

    Where that bound acts the gradient is 0.

    >>> probability_ratio(torch.tensor([0.0, -1.0]), torch.tensor([0.0, -999.0])).tolist()
    [1.0, 485165184.0]
    """
    return _bounded_exp(at_least_float32(logprobs) - at_least_float32(old_logprobs))


def policy_terms(
    logprobs: Float[Tensor, "batch response"],
    old_logprobs: Float[Tensor, "batch response"],
    advantages: Float[Tensor, "batch response"],
    *,
    clip_range: float,
) -> Float[Tensor, "batch response"]:
    """PPO's clipped objective with one ratio per token, as the released code has it.

    Args:
        logprobs: The policy's log-probabilities of the sampled tokens; the gradient goes here.
        old_logprobs: The same of the policy that sampled.
        advantages: Each token's, or that of its macro action (``macro.spread``).
        clip_range: The paper's epsilon. Where clipping acts the gradient is 0.

    Returns:
        max(-A * ratio, -A * clip(ratio, 1 - eps, 1 + eps)) per token.

    >>> old = torch.zeros(1, 3)
    >>> new = torch.tensor([[1.0, 1.0, 0.0]]).log1p()  # ratios 2, 2 and 1
    >>> policy_terms(new, old, torch.tensor([[1.0, -1.0, 3.0]]), clip_range=0.5).tolist()
    [[-1.5, 2.0, -3.0]]
    """
    return _clipped_policy_terms(probability_ratio(logprobs, old_logprobs), advantages, clip_range)


def macro_policy_terms(
    logprobs: Float[Tensor, "batch response"],
    old_logprobs: Float[Tensor, "batch response"],
    macro_advantages: Float[Tensor, "batch macro"],
    macro_actions: MacroActions,
    *,
    clip_range: float,
) -> Float[Tensor, "batch macro"]:
    """PPO's clipped objective with one ratio per macro action, the product of its tokens' (paper).

    Args:
        logprobs: The policy's log-probabilities of the sampled tokens; the gradient goes here.
        old_logprobs: The same of the policy that sampled.
        macro_advantages: One per macro action.
        macro_actions: Macro action of each token.
        clip_range: The paper's epsilon, for the ratio of the whole macro action.

    Returns:
        One term per macro action; its mask is ``macro_actions.mask``.

    >>> from lightning_marlhf.ops.segmentation import fixed_ngram
    >>> macro_actions = fixed_ngram(torch.ones(1, 2, dtype=torch.bool), n=2)
    >>> new = torch.tensor([[1.0, 0.5]]).log1p()  # ratios 2 and 1.5, product 3
    >>> old, advantages = torch.zeros(1, 2), torch.tensor([[-1.0]])
    >>> terms = macro_policy_terms(new, old, advantages, macro_actions, clip_range=0.2)
    >>> round(terms.item(), 4)
    3.0
    """
    log_ratio = at_least_float32(logprobs) - at_least_float32(old_logprobs)
    ratio = _bounded_exp(pool_tokens(log_ratio, macro_actions, weights="sum"))
    return _clipped_policy_terms(ratio, macro_advantages, clip_range)


def value_terms(
    values: Float[Tensor, "batch response"],
    old_values: Float[Tensor, "batch response"],
    returns: Float[Tensor, "batch response"],
    *,
    clip_range: float | None,
) -> Float[Tensor, "batch response"]:
    """Half the squared error of each token's value, the larger of unclipped and clipped.

    Args:
        values: The critic's; the gradient goes here.
        old_values: The critic's when the responses were sampled.
        returns: Target of each token's value: the return of its macro action.
        clip_range: How far ``values`` may move from ``old_values``; None does not clip. Where
            clipping acts the gradient is 0.

    Returns:
        0.5 * max((V - R)^2, (clip(V, V_old - c, V_old + c) - R)^2) per token.

    >>> values, old, returns = torch.tensor([[2.0]]), torch.tensor([[0.0]]), torch.tensor([[3.0]])
    >>> value_terms(values, old, returns, clip_range=None).item()
    0.5
    >>> value_terms(values, old, returns, clip_range=1.0).item()  # (0 + 1 - 3)^2 / 2
    2.0
    """
    values, old_values = at_least_float32(values), at_least_float32(old_values)
    errors = (values - returns).square()
    if clip_range is not None:
        with torch.no_grad():
            clipped = values.clamp(old_values - clip_range, old_values + clip_range)
            clipped_errors = (clipped - returns).square()
        errors = _larger(errors, clipped_errors)
    return 0.5 * errors


def _clipped_policy_terms(ratio: Tensor, advantages: Tensor, clip_range: float) -> Tensor:
    with torch.no_grad():
        clipped = -advantages * ratio.clamp(1.0 - clip_range, 1.0 + clip_range)
    return _larger(-advantages * ratio, clipped)


def _larger(unclipped: Tensor, clipped: Tensor) -> Tensor:
    """Take the larger, with a gradient only where that is the unclipped one.

    Within the clip range both are the same number, so this is the gradient of the usual maximum of
    two differentiated terms, in half the time.
    """
    return torch.where(clipped > unclipped, clipped, unclipped)


def _bounded_exp(log_ratio: Tensor) -> Tensor:
    return log_ratio.clamp(max=MAX_LOG_RATIO).exp()


def _negative_log_sigmoid(x: Tensor) -> Tensor:
    return -torch.nn.functional.logsigmoid(x)
