"""Progress of a run in optimizer updates, its ETA, and its latest metrics."""

import itertools
import math
import time
from typing import Any

from lightning.pytorch import LightningModule, Trainer


class Pace:
    """Updates per second in this session.

    Neither the start-up nor the first batch, which is slower than those after it, counts in the pace; until there
    is a second batch, the first is used.

    Args:
        step: updates done when the session began.
        total: updates of the whole run; None if unknown.
    """

    def __init__(self, *, step: int, total: int | None) -> None:
        self.first_step = step
        self.total = total
        self.started = time.monotonic()
        self._starts: list[tuple[int, float]] = []  # updates and time at the first two batches

    @property
    def seconds(self) -> float:
        """Wall time of this session."""
        return time.monotonic() - self.started

    def begin_batch(self, step: int) -> None:
        """Note the start of a batch after ``step`` updates."""
        if len(self._starts) < 2 and all(step > earlier for earlier, _ in self._starts):
            self._starts.append((step, time.monotonic()))

    def seconds_per_update(self, step: int) -> float | None:
        """Return the pace after ``step`` updates; None before the first one."""
        points = [*self._starts, (step, time.monotonic())]
        paces = [(u - t) / (now - then) for (then, t), (now, u) in itertools.pairwise(points) if now > then]
        return paces[-1] if paces else None

    def eta_s(self, step: int) -> float | None:
        """Estimate the seconds left after ``step`` updates; None before the first one or without an end."""
        pace = self.seconds_per_update(step)
        return None if self.total is None or pace is None else max(0, self.total - step) * pace


class Paced:
    """Mixin of callbacks that report progress; maintains `pace`."""

    pace: Pace | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Create the pace of this session."""
        self.pace = Pace(step=trainer.global_step, total=total_updates(trainer, pl_module))

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Note the start of the batch."""
        assert self.pace is not None
        self.pace.begin_batch(trainer.global_step)


def total_updates(trainer: Trainer, module: LightningModule) -> int | None:
    """Return how many updates the whole run makes: the module's number, or else `max_steps`; None without an end."""
    total = getattr(module, "total_updates", None)
    if total is not None:
        return int(total)
    return trainer.max_steps if trainer.max_steps >= 0 else None


def metric(trainer: Trainer, name: str | None) -> float | None:
    """Return the last logged value of a metric; None if it was not logged or is not finite."""
    value = trainer.callback_metrics.get(name) if name else None
    return float(value) if value is not None and math.isfinite(float(value)) else None


def finite_metrics(trainer: Trainer) -> dict[str, float]:
    """Return everything that was logged last, without what JSON cannot hold."""
    values = {name: float(value) for name, value in trainer.callback_metrics.items()}
    return {name: value for name, value in values.items() if math.isfinite(value)}
