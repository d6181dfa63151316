"""Means and their 95 % intervals, over held-out prompts, over seeds, and of paired differences; as cells of tables.

All intervals of means are Student's t intervals: mean +- t(0.975, n - 1) * sd / sqrt(n).
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy import stats

from lightning_marlhf.display.document import Cell
from lightning_marlhf.display.text import MISSING, number
from lightning_marlhf.records import Completion, MeanInterval
from lightning_marlhf.reporting.load import Run

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Measure:
    """One number of a completion, and how the report shows it."""

    label: str  # column title, with the unit
    decimals: int
    read: Callable[[Completion], float | None]
    interval: bool = True  # False: only the mean is shown, and no difference


@dataclass(frozen=True)
class Estimate:
    """A mean with its interval."""

    mean: float
    low: float  # NaN for fewer than two values
    high: float
    spread: float  # standard deviation of the values, n - 1 in the denominator
    count: int

    def bounds(self, decimals: int) -> str:
        """Return "(low to high)", or nothing if there is no interval."""
        if not math.isfinite(self.low):
            return ""
        return f"({number(self.low, decimals)} to {number(self.high, decimals)})"

    def cell(self, decimals: int, *, signed: bool = False) -> Cell:
        """Return the cell "mean (low to high)"."""
        return Cell(number(self.mean, decimals, signed=signed), self.bounds(decimals))

    def spread_cell(self, decimals: int, *, signed: bool = False) -> Cell:
        """Return the cell "mean +- standard deviation"."""
        known = math.isfinite(self.spread)
        detail = f"± {number(self.spread, decimals)}" if known else ""
        return Cell(number(self.mean, decimals, signed=signed), detail)


KL = Measure("KL (nats)", 2, lambda completion: completion.kl)
LENGTH = Measure("Length (tokens)", 1, lambda completion: completion.num_tokens)
ENDED = Measure("Ended (%)", 0, lambda completion: 100.0 * completion.ended, interval=False)


def score_measures(scores: Mapping[str, str]) -> dict[str, Measure]:
    """Return the measure of each scorer, by the scorer's name."""
    return {key: Measure(label, 2, lambda row, key=key: row.scores.get(key)) for key, label in scores.items()}


def measures(scores: Mapping[str, str]) -> tuple[Measure, ...]:
    """Return the columns of the tables: each score, then KL, length, and the fraction that ended."""
    return (*score_measures(scores).values(), KL, LENGTH, ENDED)


def prompt_values(completions: Iterable[Completion], measure: Measure) -> pd.Series:
    """Return one number per held-out prompt, indexed by the prompt.

    Several responses to one prompt count as their mean; prompts without the number are left out.
    """
    rows = [(c.prompt, measure.read(c)) for c in completions]
    values = pd.Series([v for _, v in rows], index=[i for i, _ in rows], dtype=float)
    return values.dropna().groupby(level=0, sort=True).mean()


def t_interval(values: Iterable[float]) -> Estimate:
    """Return the mean of independent ``values`` with its t interval; NaN for none."""
    array = np.asarray(list(values), dtype=float)
    count = array.size
    if count == 0:
        return Estimate(math.nan, math.nan, math.nan, math.nan, 0)
    mean = float(array.mean())
    if count == 1:
        return Estimate(mean, math.nan, math.nan, math.nan, 1)
    spread = float(array.std(ddof=1))
    half = float(stats.t.ppf(0.5 + CONFIDENCE / 2, count - 1)) * spread / math.sqrt(count)
    return Estimate(mean, mean - half, mean + half, spread, count)


def paired_differences(ours: pd.Series, theirs: pd.Series) -> pd.Series:
    """Return ours - theirs on the prompts that both have, indexed by the prompt."""
    ours, theirs = ours.align(theirs, join="inner")
    return ours - theirs


def mean_over_seeds(differences: Iterable[pd.Series]) -> pd.Series:
    """Return one number per prompt: its mean over the seeds that have it.

    So that an interval over prompts treats a prompt's values under several seeds as one value.
    """
    differences = list(differences)
    if not differences:
        return pd.Series(dtype=float)
    return pd.concat(differences).groupby(level=0, sort=True).mean()


def over_seeds(runs: Sequence[Run], measure: Measure) -> Estimate:
    """Return the mean of the runs' means with its interval over them; of one run, over its prompts."""
    if len(runs) == 1:
        return t_interval(prompt_values(runs[0].completions, measure))
    return seed_means(runs, measure)


def seed_means(runs: Sequence[Run], measure: Measure) -> Estimate:
    """Return the mean of the runs' means with its interval over them; each run counts once."""
    values = [prompt_values(run.completions, measure) for run in runs]
    return t_interval([each.mean() for each in values if len(each)])


def percentages(shares: Iterable[float], ends: Sequence[float | None] = ()) -> Estimate:
    """Return the mean of shares in per cent, with its interval over seeds, which no share can leave.

    Args:
        shares: One for each seed.
        ends: Of the interval that a single seed has left.
    """
    values = [100 * share for share in shares]
    if len(values) == 1 and ends:
        low, high = (math.nan if end is None else 100 * end for end in ends)
        return Estimate(values[0], low, high, math.nan, 1)
    found = t_interval(values)
    if math.isnan(found.low):
        return found
    return replace(found, low=max(0.0, found.low), high=min(100.0, found.high))


def gain_cell(difference: float, base: float) -> Cell:
    """Return a difference in per cent of the baseline's absolute value."""
    gain = number(100 * difference / abs(base) if base else None, 0, signed=True)
    return Cell(gain if gain == MISSING else f"{gain} %")


def recorded_cell(value: MeanInterval | None, decimals: int, *, signed: bool = False) -> Cell:
    """Return the cell "mean (low to high)" of a record, or a dash if there is no mean."""
    if value is None:
        return Cell(MISSING)
    low, high = (math.nan if end is None else end for end in (value.low, value.high))
    return Estimate(value.mean, low, high, math.nan, 0).cell(decimals, signed=signed)


@dataclass(frozen=True)
class MedianEstimate:
    """A median with an interval that assumes nothing of the distribution; values may be infinite (censored)."""

    median: float
    low: float  # NaN for fewer than two values
    high: float
    coverage: float  # of the interval; below `CONFIDENCE` if the values are too few for more


def median_interval(values: Iterable[float]) -> MedianEstimate:
    """Return the median and the interval between two order statistics.

    The k-th lowest and the k-th highest of n values enclose the median with probability 1 - 2 P(B < k), B binomial
    (n, 1/2). The largest k is taken that reaches `CONFIDENCE`, else k = 1: the lowest to the highest value. A value
    that is only known to be large is infinite: it counts, and needs no number.

    >>> median_interval([3.0, 1.0, math.inf])
    MedianEstimate(median=3.0, low=1.0, high=inf, coverage=0.75)
    """
    ordered = sorted(values)
    count = len(ordered)
    if count == 0:
        return MedianEstimate(math.nan, math.nan, math.nan, math.nan)
    middle = (ordered[(count - 1) // 2], ordered[count // 2])
    median = middle[0] if middle[0] == middle[1] else sum(middle) / 2
    if count == 1:
        return MedianEstimate(median, math.nan, math.nan, math.nan)
    coverages = [1 - 2 * float(stats.binom.cdf(k - 1, count, 0.5)) for k in range(1, count)]
    k = max((k for k, share in enumerate(coverages, 1) if share >= CONFIDENCE), default=1)
    return MedianEstimate(median, ordered[k - 1], ordered[count - k], coverages[k - 1])
