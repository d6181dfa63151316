"""How far the policy is from the reference at each sampled token, and the token rewards made of it.

All three estimators have the KL divergence (their sum over a response) as mean or close to it, for tokens sampled from
the policy: http://joschu.net/blog/kl-approx.html. The exact KL over the vocabulary is not here.
"""

from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lightning_marlhf.ops.masking import at_least_float32, last_token, zero_padding

Estimator = Literal["k1", "k2", "k3"]

# exp(20) = 4.9e8 keeps sums and squares finite in float32, where exp(89) is inf and inf * 0 is NaN.
# No healthy policy gets there: a ratio of e^20 means that one probability is a billionth of the
# other.
MAX_LOG_RATIO = 20.0


def estimate(
    logprobs: Float[Tensor, "batch response"], ref_logprobs: Float[Tensor, "batch response"], *, estimator: Estimator
) -> Float[Tensor, "batch response"]:
    """Estimate KL(policy || reference) in nats from the sampled tokens alone.

    Args:
        logprobs: The policy's log-probabilities of the tokens it sampled.
        ref_logprobs: The reference's, under the same temperature.
        estimator: With d = log pi - log pi_ref: "k1" is d (unbiased, may be negative; paper and released code), "k2" is
            d^2 / 2 (biased, never negative), "k3" is exp(-d) - 1 + d (unbiased, never negative).

    Returns:
        One number per token; on padding whatever the inputs give.

    Raises:
        ValueError: If ``estimator`` is unknown.

    >>> logprobs, ref_logprobs = torch.tensor([[-1.0]]), torch.tensor([[-3.0]])
    >>> [round(estimate(logprobs, ref_logprobs, estimator=k).item(), 3) for k in ("k1", "k2", "k3")]
    [2.0, 2.0, 1.135]
    """
    log_ratio = at_least_float32(logprobs) - at_least_float32(ref_logprobs)
    match estimator:
        case "k1":
            return log_ratio
        case "k2":
            return 0.5 * log_ratio.square()
        case "k3":
            return torch.expm1((-log_ratio).clamp(max=MAX_LOG_RATIO)) + log_ratio
    raise ValueError(f'estimator: expected "k1", "k2" or "k3", got {estimator!r}')


def token_rewards(
    kl: Float[Tensor, "batch response"],
    scores: Float[Tensor, " batch"],
    response_mask: Bool[Tensor, "batch response"],
    *,
    coefficient: float,
) -> Float[Tensor, "batch response"]:
    """Return -coefficient * KL per token, plus the score on the last one (paper, sec. 2).

    Args:
        kl: Estimated KL of each token.
        scores: One per response, already clamped or normalised.
        response_mask: True on response tokens up to and including EOS.
        coefficient: The paper's beta.

    Returns:
        One reward per token, 0 on padding. A row without tokens gets nothing, not even its score.

    >>> kl, mask = torch.tensor([[1.0, 2.0, 7.0]]), torch.tensor([[True, True, False]])
    >>> token_rewards(kl, torch.tensor([3.0]), mask, coefficient=0.5).tolist()
    [[-0.5, 2.0, 0.0]]
    """
    penalty = zero_padding(kl, response_mask) * -coefficient
    return penalty + zero_padding(scores.unsqueeze(1).expand_as(kl), last_token(response_mask))
