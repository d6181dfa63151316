"""The numbers of a PPO update that a scientist changes."""

from dataclasses import dataclass
from typing import Literal

from lightning_marlhf.ops import masking


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

    epochs: int = 1
    minibatches: int = 1
    clip_range: float = 0.2
    value_clip_range: float | None = 0.2
    ratio_level: Literal["token", "macro"] = "token"
    loss_reduction: masking.Reduction = "token"
    critic_warmup: int = 0

    def __post_init__(self) -> None:
        if min(self.epochs, self.minibatches) < 1:
            raise ValueError(
                f"ppo.epochs and ppo.minibatches must be at least 1, got {self.epochs} and {self.minibatches}"
            )
        if self.clip_range <= 0 or (
            self.value_clip_range is not None and self.value_clip_range <= 0
        ):
            raise ValueError(
                "ppo.clip_range and ppo.value_clip_range must be above 0 (value_clip_range may be null), "
                f"got {self.clip_range} and {self.value_clip_range}"
            )
