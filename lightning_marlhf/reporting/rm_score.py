"""Policies side by side: a table of their scores, and a picture of how these are distributed."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lightning_marlhf.display.blocks import Cell, Pictures, Table
from lightning_marlhf.records import PolicyScores, RMScores
from lightning_marlhf.reporting.plots import add_legend
from lightning_marlhf.reporting.style import in_style, nth_style, to_picture
from lightning_marlhf.reporting.text import mean_with_interval, number

_DECIMALS = 3
_BINS = 40


def rm_score_table(found: RMScores) -> Table:
    """Return a line for each policy and scorer."""
    quantiles = list(next(iter(found.policies[0].scores.values())).quantiles)
    rows = tuple(
        _row(policy, name, quantiles) for name in found.scorers for policy in found.policies
    )
    header = (
        *("Policy", "Score", "Mean", "Difference to the first", "Standard deviation"),
        *(f"{100 * float(each):g} %" for each in quantiles),
        *("Answers", "Prompts", "In common"),
    )
    caption = (
        "Means over prompts; standard deviations and quantiles of the answers' scores. In brackets: intervals of 95 % "
        "over prompts; differences are taken on the prompts that both have answered (in common)."
    )
    return Table(header, rows, caption, num_left=2)


def _row(policy: PolicyScores, name: str, quantiles: Sequence[str]) -> tuple[Cell, ...]:
    score = policy.scores[name]
    return (
        Cell(policy.label),
        Cell(name),
        mean_with_interval(score.mean, _DECIMALS),
        mean_with_interval(score.difference, _DECIMALS, signed=True),
        Cell(number(score.spread, _DECIMALS)),
        *(Cell(number(score.quantiles[each], 2)) for each in quantiles),
        Cell(f"{policy.num_responses:,}"),
        Cell(f"{policy.num_prompts:,}"),
        Cell(f"{score.num_paired:,}" if score.difference else ""),
    )


def distribution_pictures(scores: Mapping[str, Mapping[str, Sequence[float]]]) -> Pictures:
    """Return the picture: a panel for each scorer, a line for each policy.

    Args:
        scores: of all answers, by scorer and by the policy's label.
    """
    with in_style():
        figure = Figure(figsize=(4.8 * len(scores) + 0.8, 4.1), layout="constrained")
        panels = figure.subplots(1, len(scores), squeeze=False)[0]
        for (name, by_policy), axes in zip(scores.items(), panels, strict=True):
            axes.set(title=f"Distribution of {name}", xlabel=f"Score ({name})")
            axes.set_ylabel("Share of answers")
            _draw(axes, by_policy)
        add_legend(figure, *panels)
        picture = to_picture(
            figure,
            name="rm_score",
            alt="Histograms of the answers' scores, a line per policy",
            wide=len(scores) > 1,
        )
    return Pictures((picture,), "Vertical lines: means of the answers.", folder="")


def _draw(axes: Axes, by_policy: Mapping[str, Sequence[float]]) -> None:
    every = np.concatenate([np.asarray(each) for each in by_policy.values()])
    edges = np.histogram_bin_edges(every, bins=_BINS)
    for n, (label, values) in enumerate(by_policy.items()):
        style = nth_style(n, label)
        shares = np.histogram(values, bins=edges)[0] / len(values)
        axes.stairs(shares, edges, color=style.color, linewidth=1.8, label=style.label)
        axes.stairs(shares, edges, color=style.color, fill=True, alpha=0.12)
        axes.axvline(float(np.mean(values)), color=style.color, linestyle="--", linewidth=1.2)
