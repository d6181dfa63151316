"""Training curves: smoothing, seeds side by side, and the update at which a level is reached."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import pandas as pd

from lightning_marlhf.reporting.load import Run

KL_METRIC = "objective/kl"
TRAINED_SCORE_METRIC = "objective/scores"
# What the scorer that the policy is trained on is called where it has no metric of its own.
_TRAINED_SCORES = ("rm", "score")


@dataclass(frozen=True)
class SeedCurves:
    """One metric of one row; all indexed by optimizer update."""

    raw: tuple[pd.Series, ...]  # as logged, one per seed
    smooth: pd.DataFrame  # one column per seed

    @property
    def mean(self) -> pd.Series:
        """The mean over the seeds that have the update."""
        return self.smooth.mean(axis=1)

    @property
    def low(self) -> pd.Series:
        """The lowest seed."""
        return self.smooth.min(axis=1)

    @property
    def high(self) -> pd.Series:
        """The highest seed."""
        return self.smooth.max(axis=1)


def score_metric(score: str, *, logged: Collection[str]) -> str:
    """Return the name under which a score's mean over the training rollouts was logged."""
    own = f"objective/{score}"
    return TRAINED_SCORE_METRIC if score in _TRAINED_SCORES and own not in logged else own


def smoothing_window(num_points: int) -> int:
    """Return the odd number of points that are averaged: about a tenth of the curve."""
    return 2 * (num_points // 20) + 1


def smooth(curve: pd.Series) -> pd.Series:
    """Return the centred moving mean; at the ends, the mean of the points that are there."""
    window = smoothing_window(len(curve))
    return curve.rolling(window, center=True, min_periods=1).mean()


def seed_curves(runs: Sequence[Run], metric: str) -> SeedCurves | None:
    """Return a row's curves of one metric; None where no run has logged it."""
    curves = {run.seed: curve for run in runs if len(curve := run.metric(metric))}
    if not curves:
        return None
    return SeedCurves(
        raw=tuple(curves.values()),
        smooth=pd.DataFrame({seed: smooth(curve) for seed, curve in curves.items()}),
    )


def final_level(curve: pd.Series) -> float:
    """Return where the smoothed curve ends."""
    return float(smooth(curve).iloc[-1])


def updates_to_reach(curve: pd.Series, *, level: float) -> int | None:
    """Return the first update at which the smoothed curve is at ``level`` or above, or None."""
    reached = smooth(curve) >= level
    return int(reached.index[reached.argmax()]) if reached.any() else None
