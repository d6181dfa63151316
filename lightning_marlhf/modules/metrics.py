"""Metrics of a rollout and its updates, under TRL's names (verl's where TRL has none).

All means are over the responses of all ranks that have a valid score, or over their tokens; never over padding.
NAME_invalid is the fraction of responses without NAME.

Units: KL and entropies are in nats. `objective/kl`, `objective/entropy` and the parts of the reward are sums over the
tokens of a response, averaged over responses; `objective/entropy` is the sum of -log pi of the sampled tokens.
`policy/entropy_avg` is a mean over tokens, of the entropy of the full next-token distribution. `*_ratio`, `clipfrac`,
`*_invalid` and `objective/scores_clamped` are fractions between 0 and 1.
"""

import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from lightning_marlhf.ops import losses, macro, masking
from lightning_marlhf.types import Experience, TokenLogprobs

AllReduce = Callable[[Tensor], Tensor]
Gather = Callable[[Tensor], Tensor]


class WeightedMeans:
    """Means by name, collected over micro-batches and ranks.

    Keeps running sums and counts on the device; synchronises only in `compute`.
    """

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._snapshot: dict[str, Tensor] = {}

    @property
    def names(self) -> list[str]:
        """Names of the accumulated metrics."""
        return list(self._sums)

    def snapshot(self) -> None:
        """Remember this state, for `rollback`."""
        self._snapshot = dict(self._sums)

    def rollback(self) -> None:
        """Forget what was added since the last `snapshot`."""
        self._sums = dict(self._snapshot)

    def add(self, name: str, values: Tensor, mask: Tensor | None = None) -> None:
        """Count ``values`` where ``mask`` is True (everywhere without one)."""
        values = values.detach().float()
        if mask is None:
            mask = torch.ones_like(values, dtype=torch.bool)
        pair = torch.stack([values.masked_fill(~mask, 0.0).sum(), mask.sum().float()])
        self._sums[name] = self._sums[name] + pair if name in self._sums else pair

    def expect(self, names: Iterable[str]) -> None:
        """Add missing ``names`` and sort them, so that ranks with different metrics can be reduced."""
        nothing = torch.zeros_like(next(iter(self._sums.values()), torch.zeros(2)))
        every = sorted({*self._sums, *names})
        self._sums = {name: self._sums.get(name, nothing) for name in every}

    def compute(self, all_reduce_sum: Callable[[Tensor], Tensor]) -> dict[str, float]:
        """Return the mean of each name over all ranks; names without any value are left out."""
        if not self._sums:
            return {}
        names = list(self._sums)
        totals = all_reduce_sum(torch.stack([self._sums[name] for name in names])).tolist()
        return {name: total / count for name, (total, count) in zip(names, totals, strict=True) if count}


def add_evaluation(means: WeightedMeans, experience: Experience) -> None:
    """Accumulate the metrics of held-out prompts: eval/*."""
    valid = experience.valid
    means.add("eval/kl", experience.kl.sum(dim=1), valid)
    means.add("eval/response_length", experience.rollout.response_mask.sum(dim=1), valid)
    means.add("eval/ended", experience.rollout.ended, valid)
    _add_scores(means, experience, prefix="eval")


def add_rollout(means: WeightedMeans, experience: Experience) -> None:
    """Accumulate the metrics of a rollout: objective/*, response_length/*, macro/*."""
    rollout, actions, valid = experience.rollout, experience.macro_actions, experience.valid
    lengths = rollout.response_mask.sum(dim=1)
    penalties = experience.token_rewards.sum(dim=1) - experience.scores * (lengths > 0)
    means.add("objective/kl", experience.kl.sum(dim=1), valid)  # nats per response
    means.add("objective/entropy", -experience.old_logprobs.sum(dim=1), valid)  # nats per response
    means.add("objective/non_score_reward", penalties, valid)
    means.add("objective/rlhf_reward", experience.scores + penalties, valid)
    _add_scores(means, experience, prefix="objective")
    if experience.clamped is not None:
        means.add("objective/scores_clamped", experience.clamped, valid)
    means.add("response_length/mean", lengths, valid)
    means.add("response_length/clip_ratio", ~rollout.ended, valid)
    means.add("macro/length_mean", macro.lengths(actions), experience.macro_mask)
    means.add("macro/count_mean", actions.count, valid)
    if actions.fell_back is not None:
        means.add("macro/parse_failures", actions.fell_back, valid)


def variance_metrics(experience: Experience, *, all_reduce_sum: AllReduce) -> dict[str, float]:
    """Measure how much of the returns the critic explains, and how far advantages spread before whitening."""
    mask = experience.token_mask
    errors = experience.returns - experience.old_values
    left = masking.moments(errors, mask, all_reduce_sum=all_reduce_sum).var
    there = masking.moments(experience.returns, mask, all_reduce_sum=all_reduce_sum).var
    raw = experience.macro_returns - experience.macro_values
    return {
        "critic/vf_explained_var": (1 - left / there.clamp(min=1e-8)).item(),
        "macro/advantage_var": masking.moments(raw, experience.macro_mask, all_reduce_sum=all_reduce_sum).var.item(),
    }


def extremes(experience: Experience, *, gather: Gather) -> dict[str, float]:
    """Find the longest and the shortest response, and the longest macro action, of all ranks."""
    lengths = experience.rollout.response_mask.sum(dim=1)
    longest = macro.lengths(experience.macro_actions).amax(dim=1)
    of_all = gather(torch.stack([lengths, longest, experience.valid.long()], dim=1)).flatten(0, -2)
    lengths, longest, valid = of_all.unbind(dim=1)
    return {
        "response_length/max": lengths[valid > 0].max().item(),
        "response_length/min": lengths[valid > 0].min().item(),
        "macro/length_max": longest[valid > 0].max().item(),
    }


def add_policy_update(means: WeightedMeans, output: TokenLogprobs, experience: Experience) -> Tensor:
    """Accumulate how far the policy moved from the sampling policy: policy/*, val/ratio.

    Returns:
        The log-ratio of both policies [batch, response], detached; 0 outside the token mask.
    """
    mask = experience.token_mask
    log_ratio = (output.logprobs.detach() - experience.old_logprobs).masked_fill(~mask, 0)
    ratio = losses.probability_ratio(log_ratio, torch.zeros_like(log_ratio))
    means.add("policy/approxkl_avg", 0.5 * log_ratio.square(), mask)
    means.add("policy/entropy_avg", output.entropy, mask)  # nats per token
    means.add("val/ratio", ratio, mask)
    means.add("val/ratio_square", ratio.square(), mask)
    return log_ratio


def add_policy_clipping(
    means: WeightedMeans, log_ratio: Tensor, advantages: Tensor, mask: Tensor, *, clip_range: float
) -> None:
    """Accumulate the fraction of clipped ratios: policy/clipfrac_avg (TRL's definition)."""
    ratio = losses.probability_ratio(log_ratio, torch.zeros_like(log_ratio))
    gained = (ratio - 1) * advantages.sign()
    means.add("policy/clipfrac_avg", gained > clip_range, mask)


def add_value_update(means: WeightedMeans, values: Tensor, experience: Experience, *, clip_range: float | None) -> None:
    """Accumulate the fraction of clipped values: val/clipfrac_avg (TRL's definition)."""
    limit = float("inf") if clip_range is None else clip_range
    old = experience.old_values
    clipped = old + (values.detach() - old).clamp(-limit, limit)
    larger = (clipped - experience.returns).abs() > (values.detach() - experience.returns).abs()
    means.add("val/clipfrac_avg", larger, experience.token_mask)


def _add_scores(means: WeightedMeans, experience: Experience, *, prefix: str) -> None:
    valid = experience.valid
    means.add(f"{prefix}/scores", experience.raw_scores, valid)
    means.add(f"{prefix}/scores_invalid", ~valid)
    for name in dict.fromkeys(name for row in experience.details for name in row):
        values = torch.tensor([row.get(name, math.nan) for row in experience.details])
        values = values.to(experience.scores.device)
        means.add(f"{prefix}/{name}", values, valid & ~values.isnan())
        means.add(f"{prefix}/{name}_invalid", values.isnan(), valid)
