"""Step 10 of the algorithm: the policy and value losses of one micro-batch."""

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from lightning_marlhf.models.heads import Critic
from lightning_marlhf.models.policy import Policy
from lightning_marlhf.modules import metrics
from lightning_marlhf.modules.metrics import WeightedMeans
from lightning_marlhf.ops import losses, macro, masking
from lightning_marlhf.ranges import NonNegativeInt, Positive, PositiveInt, checked
from lightning_marlhf.types import Experience


@checked
@dataclass(frozen=True)
class PPO:
    """Settings of the PPO updates.

    Attributes:
        epochs: Passes over each rollout.
        minibatches: Updates per pass; the rollout is cut into this many random parts.
        clip_range: Epsilon of the policy loss.
        value_clip_range: Epsilon of the value loss; null does not clip.
        ratio_level: Level of the probability ratios: per "token", each with its macro action's advantage (released
            code), or per "macro" action, the product of its tokens' (paper).
        loss_reduction: Mean of the loss over "token"s, or per "sequence" and then over sequences (released code).
        critic_warmup: Number of first updates in which only the critic learns; the policy's schedule and its warm-up
            begin after them.
    """

    epochs: PositiveInt = 1
    minibatches: PositiveInt = 1
    clip_range: Positive = 0.2
    value_clip_range: Positive | None = 0.2
    ratio_level: Literal["token", "macro"] = "token"
    loss_reduction: masking.Reduction = "token"
    critic_warmup: NonNegativeInt = 0

    def check_run(self, *, rows: int, updates: int) -> None:
        """Refuse a run that cannot be cut into equal updates.

        Args:
            rows: Rows of this rank in one rollout.
            updates: Number of updates of the run.
        """
        if rows % self.minibatches:
            raise ValueError(
                f"a rollout of {rows} rows cannot be cut into {self.minibatches} equal minibatches: "
                "change data.batch_size or ppo.minibatches"
            )
        per_rollout = self.epochs * self.minibatches
        if updates % per_rollout:
            raise ValueError(
                f"a run of {updates} updates is not a multiple of {per_rollout} updates per rollout "
                "(ppo.epochs x ppo.minibatches): change trainer.max_steps"
            )


def policy_loss(
    policy: Policy, part: Experience, *, ppo: PPO, temperature: float, total: Tensor, means: WeightedMeans
) -> Tensor:
    """Compute the clipped policy loss of a micro-batch.

    Args:
        policy: Network to train.
        part: Micro-batch.
        ppo: Clipping, level of the ratios and reduction.
        temperature: Temperature of the log-probabilities, as in the rollout.
        total: Denominator of the minibatch per rank (see `masking.count`), so that micro-batch losses sum to its mean.
        means: Accumulates the metrics.
    """
    rollout, clip = part.rollout, ppo.clip_range
    output = policy(
        rollout.input_ids, rollout.attention_mask, num_targets=rollout.response_ids.shape[1], temperature=temperature
    )
    log_ratio = metrics.add_policy_update(means, output, part)
    if ppo.ratio_level == "token":
        mask, advantages = part.token_mask, part.advantages
        terms = losses.policy_terms(output.logprobs, part.old_logprobs, advantages, clip_range=clip)
    else:
        mask, advantages = part.macro_mask, part.macro_advantages
        log_ratio = macro.pool_tokens(log_ratio, part.macro_actions, weights="sum")
        terms = losses.macro_policy_terms(
            output.logprobs, part.old_logprobs, advantages, part.macro_actions, clip_range=clip
        )
    metrics.add_policy_clipping(means, log_ratio, advantages, mask, clip_range=clip)
    means.add("loss/policy_avg", terms, mask)
    return masking.reduce_mean(terms, mask, reduction=ppo.loss_reduction, total=total)


def value_loss(critic: Critic, part: Experience, *, ppo: PPO, total: Tensor, means: WeightedMeans) -> Tensor:
    """Compute the clipped value loss of a micro-batch; arguments as those of `policy_loss`."""
    rollout, clip = part.rollout, ppo.value_clip_range
    values = critic(rollout.input_ids, rollout.attention_mask, num_targets=rollout.response_ids.shape[1])
    metrics.add_value_update(means, values, part, clip_range=clip)
    terms = losses.value_terms(values, part.old_values, part.returns, clip_range=clip)
    mask = part.token_mask
    means.add("loss/value_avg", terms, mask)
    return masking.reduce_mean(terms, mask, reduction=ppo.loss_reduction, total=total)
