"""The adaptive KL coefficient and the running scale of scores, as buffers, so that checkpoints save them."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lightning_marlhf.ops.masking import Moments, join, moments
from lightning_marlhf.ranges import NonNegative, Positive, PositiveInt, checked


@checked
@dataclass(frozen=True)
class KLControl:
    """The KL coefficient, and how it adapts.

    Attributes:
        coefficient: Beta, weight of the KL penalty; the initial value if adaptive.
        target: Target KL per response in nats; null keeps the coefficient fixed.
        horizon: Episodes in which the coefficient changes by at most a fifth; smaller adapts faster. A rollout changes
            it by no more.
    """

    coefficient: NonNegative = 0.05
    target: Positive | None = None
    horizon: PositiveInt = 10_000

    def __post_init__(self) -> None:
        if self.target is not None and self.coefficient == 0:
            raise ValueError("coefficient: expected more than 0 with a target (it is multiplied), got 0")


class KLController(nn.Module):
    """The adaptive KL controller (Ziegler et al., 2019, section 2.2).

    Args:
        settings: coefficient, target and horizon.
    """

    coefficient: Tensor
    _MAX_ERROR = 0.2  # clip of the proportional error, as in Ziegler et al.

    def __init__(self, settings: KLControl) -> None:
        super().__init__()
        self.settings = settings
        self.register_buffer("coefficient", torch.tensor(settings.coefficient, dtype=torch.float64))

    def update(self, kl_per_response: float, *, episodes: int) -> None:
        """Adapt the coefficient to the KL that a rollout of ``episodes`` responses showed."""
        if self.settings.target is None:
            return
        error = kl_per_response / self.settings.target - 1
        error = max(-self._MAX_ERROR, min(self._MAX_ERROR, error))
        self.coefficient *= 1 + error * min(1.0, episodes / self.settings.horizon)


class ScoreNormalizer(nn.Module):
    """Divides scores by the standard deviation of all scores seen in training; their mean stays."""

    count: Tensor
    mean: Tensor
    var: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name in ("count", "mean", "var"):
            self.register_buffer(name, torch.zeros((), dtype=torch.float64))

    def forward(self, scores: Tensor) -> Tensor:
        """Scale ``scores`` [batch]; as long as all that were seen are equal they stay as they are."""
        deviation = self.var.sqrt()
        return scores / torch.where(deviation > 1e-8, deviation, 1.0).to(scores)

    def observe(self, scores: Tensor, valid: Tensor) -> None:
        """Count the ``valid`` ones of ``scores`` [batch], of all ranks together, in the standard deviation."""
        seen = moments(scores.double(), valid)
        joined = join(Moments(self.count, self.mean, self.var), seen)
        self.count, self.mean, self.var = joined.count, joined.mean, joined.var
