"""Guards that end a run which has gone wrong, while the last good checkpoint is still the last one."""

import math
from typing import Any, Literal

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn

from lightning_marlhf.callbacks.pace import metric


class KLGuard(Callback):
    """Watches how far the policy has drifted from the reference.

    Args:
        limit: KL per response, in nats.
        action: past the limit, "stop" ends training in good order (checkpoint, export), "warn" says so and goes on.
        metric: what is watched.
    """

    def __init__(
        self,
        *,
        limit: float,
        action: Literal["stop", "warn"] = "stop",
        metric: str = "objective/kl",
    ) -> None:
        if limit <= 0:
            raise ValueError(f"limit: expected a positive KL, got {limit}")
        self.limit = limit
        self.action = action
        self.metric = metric
        self._past = False

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Compare the last KL with the limit; warn each time it is crossed, not at every step beyond."""
        value = metric(trainer, self.metric)
        if value is None:
            return
        crossed, self._past = value > self.limit and not self._past, value > self.limit
        if not crossed:
            return
        done = "training stops here" if self.action == "stop" else "training goes on"
        rank_zero_warn(
            f"update {trainer.global_step}: {self.metric} {value:.3g} is past {self.limit:g}; {done}"
        )
        if self.action == "stop":
            trainer.should_stop = True


class NonFiniteMetricError(ValueError):
    """A logged metric is NaN or infinite."""


class NaNGuard(Callback):
    """Ends the run at the first metric that is NaN or infinite, before the weights behind it are saved.

    Modules look at their gradients themselves, before each update; this catches what they do not.

    Args:
        ignore: metrics that may be undefined.
    """

    def __init__(self, *, ignore: list[str] | None = None) -> None:
        self.ignore = frozenset(ignore or [])

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Look at everything that was logged last.

        Raises:
            NonFiniteMetricError: names the update and the metric.
        """
        for name, value in trainer.callback_metrics.items():
            if name not in self.ignore and not math.isfinite(float(value)):
                raise NonFiniteMetricError(
                    f"update {trainer.global_step}: {name} is {float(value)}; the last good checkpoint was kept, "
                    "resume it with --ckpt_path last and a lower learning rate"
                )
