"""How far the advantages of macro actions spread, by the length of the macro action."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import variance

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from lightning_marlhf.display.style import COLORS

_MAX_COUNTS = 16  # most points that are labelled with their count


@dataclass(frozen=True)
class LengthGroup:
    """The macro actions of one length."""

    length: int  # tokens
    count: int
    variance: float  # of their advantages, unbiased


def variance_by_length(lengths: Sequence[int], advantages: Sequence[float]) -> list[LengthGroup]:
    """Group macro actions by their length, shortest first; lengths that occur once have no variance and are left out.

    Args:
        lengths: number of tokens of each macro action.
        advantages: advantage of each macro action.
    """
    groups: dict[int, list[float]] = defaultdict(list)
    for length, advantage in zip(lengths, advantages, strict=True):
        groups[length].append(advantage)
    return [
        LengthGroup(length, len(found), variance(found)) for length, found in sorted(groups.items()) if len(found) > 1
    ]


def draw_variance_by_length(groups: Sequence[LengthGroup], *, title: str) -> Figure:
    """Draw a point for each length, larger for more macro actions. Call it under ``in_style``."""
    figure = Figure(figsize=(5.8, 4.1), layout="constrained")
    axes = figure.subplots()
    axes.set(title=title, xlabel="Length of the macro action (tokens)", ylabel="Variance")
    most = max((group.count for group in groups), default=1)
    axes.scatter(
        [group.length for group in groups],
        [group.variance for group in groups],
        s=[20 + 180 * group.count / most for group in groups],
        color=COLORS[0],
        alpha=0.75,
        linewidths=0,
    )
    for group in groups if len(groups) <= _MAX_COUNTS else ():
        axes.annotate(
            f"{group.count:,}", (group.length, group.variance), xytext=(9, 4), textcoords="offset points", fontsize=8.5
        )
    longest = max((group.length for group in groups), default=1)
    axes.set_xlim(0, 1.1 * longest + 0.5)
    axes.set_ylim(bottom=0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure
