"""Numbers as readable text."""

import math

from lightning_marlhf.display.blocks import Cell
from lightning_marlhf.records import MeanInterval
from lightning_marlhf.reporting.statistics import Estimate

MISSING = "–"  # noqa: RUF001


def number(value: float | None, decimals: int, *, signed: bool = False) -> str:
    """Return a rounded number, or a dash where there is none."""
    if value is None or not math.isfinite(value):
        return MISSING
    rounded = round(value, decimals) + 0.0  # no "-0.00"
    return f"{rounded:{'+' if signed else ''}.{decimals}f}"


def interval(estimate: Estimate, decimals: int) -> str:
    """Return "(low to high)", or nothing where there is no interval."""
    if not math.isfinite(estimate.low):
        return ""
    return f"({number(estimate.low, decimals)} to {number(estimate.high, decimals)})"


def with_interval(estimate: Estimate, decimals: int, *, signed: bool = False) -> Cell:
    """Return the cell "mean (low to high)"."""
    mean = number(estimate.mean, decimals, signed=signed)
    return Cell(mean, interval(estimate, decimals))


def mean_with_interval(value: MeanInterval | None, decimals: int, *, signed: bool = False) -> Cell:
    """Return the cell "mean (low to high)", or a dash where there is no mean."""
    if value is None:
        return Cell(MISSING)
    mean = number(value.mean, decimals, signed=signed)
    if value.low is None or value.high is None:
        return Cell(mean)
    return Cell(mean, f"({number(value.low, decimals)} to {number(value.high, decimals)})")


def with_spread(estimate: Estimate, decimals: int, *, signed: bool = False) -> Cell:
    """Return the cell "mean +- standard deviation"."""
    mean = number(estimate.mean, decimals, signed=signed)
    known = math.isfinite(estimate.spread)
    return Cell(mean, f"± {number(estimate.spread, decimals)}" if known else "")


def duration(seconds: float) -> str:
    """Return a time as people read it: "12 s", "3 min 20 s", "2 h 05 min"."""
    total = round(seconds)
    if total < 60:
        return f"{total} s"
    if total < 3600:
        return f"{total // 60} min {total % 60:02d} s"
    return f"{total // 3600} h {total % 3600 // 60:02d} min"
