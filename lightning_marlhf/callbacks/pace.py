"""How far a run is and when it will be done, counted in optimizer updates; and what it last measured."""

import math
import time

from lightning.pytorch import LightningModule, Trainer


class Pace:
    """Updates against seconds, in this session.

    Args:
        step: updates done when the session began.
        total: updates of the whole run; None where nobody knows.
    """

    def __init__(self, *, step: int, total: int | None) -> None:
        self.first_step = step
        self.total = total
        self.started = time.monotonic()

    @property
    def seconds(self) -> float:
        """Wall time of this session."""
        return time.monotonic() - self.started

    def eta_s(self, step: int) -> float | None:
        """Estimate the seconds left after ``step`` updates; None before the first one or without an end."""
        if self.total is None or step <= self.first_step:
            return None
        return max(0, self.total - step) * self.seconds / (step - self.first_step)


def total_updates(trainer: Trainer, module: LightningModule) -> int | None:
    """Return how many updates the whole run makes: what the module says, or else `max_steps`; None without an end."""
    said = getattr(module, "total_updates", None)
    if said is not None:
        return int(said)
    return trainer.max_steps if trainer.max_steps >= 0 else None


def metric(trainer: Trainer, name: str | None) -> float | None:
    """Return the last logged value of a metric; None where it was not logged or is not finite."""
    value = trainer.callback_metrics.get(name) if name else None
    return float(value) if value is not None and math.isfinite(float(value)) else None


def finite_metrics(trainer: Trainer) -> dict[str, float]:
    """Return everything that was logged last, without what JSON cannot hold."""
    values = {name: float(value) for name, value in trainer.callback_metrics.items()}
    return {name: value for name, value in values.items() if math.isfinite(value)}


def in_words(seconds: float | None) -> str:
    """Say a duration in two units at most.

    >>> in_words(5400), in_words(42), in_words(None)
    ('1 h 30 min', '42 s', '?')
    """
    if seconds is None:
        return "?"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    seconds = round(seconds)
    minutes, hours = seconds // 60, seconds // 3600
    if hours:
        return f"{hours} h {minutes % 60} min"
    return f"{minutes} min {seconds % 60} s" if minutes else f"{seconds} s"
