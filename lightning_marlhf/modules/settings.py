"""The numbers of a PPO update that a scientist changes."""

from dataclasses import dataclass
from typing import Literal

from lightning_marlhf.ops import masking
from lightning_marlhf.ranges import NonNegativeInt, Positive, PositiveInt, checked


@checked
@dataclass(frozen=True)
class PPO:
    """How experience is learnt from.

    Attributes:
        epochs: passes over each rollout.
        minibatches: updates per pass; the rollout is cut into this many random parts.
        clip_range: epsilon of the policy loss.
        value_clip_range: epsilon of the value loss; null does not clip.
        ratio_level: "token" ratios, each with its macro action's advantage (released code), or one ratio per "macro"
            action, the product of its tokens' (paper).
        loss_reduction: mean of the loss over "token"s, or per "sequence" and then over sequences (released code).
        critic_warmup: first updates in which only the critic learns; the policy's schedule and its warm-up begin after
            them.
    """

    epochs: PositiveInt = 1
    minibatches: PositiveInt = 1
    clip_range: Positive = 0.2
    value_clip_range: Positive | None = 0.2
    ratio_level: Literal["token", "macro"] = "token"
    loss_reduction: masking.Reduction = "token"
    critic_warmup: NonNegativeInt = 0
