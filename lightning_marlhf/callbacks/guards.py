"""Guards that stop a diverged run before its last good checkpoint is overwritten."""

import math
from typing import Any, Literal

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn

from lightning_marlhf.callbacks.eta import metric
from lightning_marlhf.ranges import Positive, checked


class KLExplosionError(ValueError):
    """The policy has drifted too far from the reference, or from itself."""


@checked
class KLGuard(Callback):
    """Watches how far the policy drifts from the reference, and in the updates of one rollout from itself.

    Args:
        limit: largest `objective/kl`, KL to the reference in nats per response; null for none.
        update_limit: largest `policy/approxkl_avg`, KL to the policy that sampled in nats per token; null for none.
        action: past a limit, "fail" ends the run and keeps the last checkpoint as it is, "stop" ends training
            normally (checkpoint, export), "warn" warns and continues.
    """

    def __init__(
        self,
        *,
        limit: Positive | None = 1000.0,
        update_limit: Positive | None = 10.0,
        action: Literal["fail", "stop", "warn"] = "fail",
    ) -> None:
        self.limits = {"objective/kl": limit, "policy/approxkl_avg": update_limit}
        self.action = action
        self._exceeded: set[str] = set()

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Compare the last KL with the limits; warn each time one is crossed, not at every step beyond.

        Raises:
            KLExplosionError: names the update, the metric and the limit.
        """
        for name, limit in self.limits.items():
            value = metric(trainer, name)
            if value is None or limit is None or value <= limit:
                self._exceeded.discard(name)
            elif name not in self._exceeded:
                self._exceeded.add(name)
                self._act(trainer, f"update {trainer.global_step}: {name} {value:.3g} exceeds {limit:g}")

    def _act(self, trainer: Trainer, what: str) -> None:
        if self.action == "fail":
            raise KLExplosionError(f"{what} (kl_guard): lower the learning rate, or raise the KL coefficient")
        stop = self.action == "stop"
        rank_zero_warn(f"{what}; training {'stops here' if stop else 'continues'}")
        trainer.should_stop = trainer.should_stop or stop


class NonFiniteMetricError(ValueError):
    """A logged metric is NaN or infinite."""


class NaNGuard(Callback):
    """Ends the run at the first metric that is NaN or infinite, before the weights behind it are saved.

    Modules check their gradients themselves, before each update; this catches what they do not. Perplexity is left out:
    it is infinite from a loss of 710 on, and the loss is checked.

    Args:
        ignore: metrics that may be undefined.
    """

    def __init__(self, *, ignore: list[str] | None = None) -> None:
        self.ignore = frozenset(ignore or []) | {"eval/perplexity"}

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Check everything that was logged last.

        Raises:
            NonFiniteMetricError: names the update and the metric.
        """
        for name, value in trainer.callback_metrics.items():
            if name not in self.ignore and not math.isfinite(float(value)):
                raise NonFiniteMetricError(
                    f"update {trainer.global_step}: {name} is {float(value)} (nan_guard): lower the learning rate"
                )
