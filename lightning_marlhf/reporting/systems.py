"""One system of the paper: its runs, and the paper's numbers."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lightning_marlhf.display.blocks import Cell
from lightning_marlhf.reporting.load import Run, Study
from lightning_marlhf.reporting.statistics import Estimate, Measure, post_values, t_interval
from lightning_marlhf.reporting.tables import answered
from lightning_marlhf.reporting.text import MISSING, number

NOT_FOUND = "not found"
INTERVALS = (
    "In brackets: the paper's numbers with our confidence in them, ours with 95 % intervals (Student t) over seeds, or"
    " over held-out prompts where there is one seed."
)


@dataclass(frozen=True)
class System:
    """A task with a model."""

    name: str  # in names of pictures
    label: str
    study: Study
    evaluations: tuple[str, ...]  # stages whose results are shown
    reported: Mapping[str, Any] | None  # the paper's numbers; None: the paper has no such system

    def paper(self, measure: str, run: str, *, decimals: int, unit: str = "") -> Cell:
        """Return what the paper reports; "not found" where we know no source."""
        if self.reported is None:
            return Cell(MISSING)
        found = (self.reported.get(measure) or {}).get(run)
        if found is None:
            return Cell(NOT_FOUND)
        values = found["value"] if isinstance(found["value"], list) else [found["value"]]
        text = " to ".join(number(value, decimals) for value in values)
        return Cell(f"{text}{unit}", f"({found['confidence']})")

    def paper_value(self, measure: str, run: str) -> float | None:
        """Return the paper's number, where it is one."""
        found = ((self.reported or {}).get(measure) or {}).get(run)
        return None if found is None or isinstance(found["value"], list) else float(found["value"])


def over_seeds(runs: Sequence[Run], measure: Measure) -> Estimate:
    """Return the mean of the runs' means with its interval over them; of one run, over prompts."""
    runs = answered(runs)
    if len(runs) == 1:
        return t_interval(post_values(runs[0].completions, measure))
    means = [values.mean() for r in runs if len(values := post_values(r.completions, measure))]
    return t_interval(means)


def percentages(shares: Iterable[float], ends: Sequence[float | None] = ()) -> Estimate:
    """Return the mean of shares in per cent, with its interval over seeds, which no share can leave.

    Args:
        shares: one for each seed.
        ends: of the interval that a single seed has left.
    """
    values = [100 * share for share in shares]
    if len(values) == 1 and ends:
        low, high = (math.nan if end is None else 100 * end for end in ends)
        return Estimate(values[0], low, high, math.nan, 1)
    found = t_interval(values)
    if math.isnan(found.low):
        return found
    return replace(found, low=max(0.0, found.low), high=min(100.0, found.high))
