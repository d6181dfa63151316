"""Score against KL, and over-optimization: gain of the training score compared with held-out scores."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from lightning_marlhf.display.document import Block, Picture
from lightning_marlhf.display.style import in_style
from lightning_marlhf.reporting.curves import KL_METRIC, SeedCurves, draw_mean, score_metric, seed_curves
from lightning_marlhf.reporting.layout import (
    SIZE,
    UPDATES,
    RowStyle,
    add_legend,
    nth_style,
    pictures_of_each,
    row_styles,
    to_picture,
)
from lightning_marlhf.reporting.load import System
from lightning_marlhf.reporting.statistics import KL, Estimate, Measure, prompt_values, score_measures, t_interval

_KL_LABEL = "KL to the reference policy (nats per response)"
_PANEL = (4.2, 3.7)


def frontier(systems: Sequence[System]) -> list[Block]:
    """Return the way of each run through the plane of KL and score."""
    return pictures_of_each(
        systems,
        frontier_pictures,
        caption="Lines: the smoothed training curves, mean over seeds. Markers: each seed on held-out prompts with 95 %"
        " intervals. Further up at the same KL is better.",
        missing="No run has logged a score and KL yet.",
    )


def overoptimization(systems: Sequence[System]) -> list[Block]:
    """Return each scorer's gain while training maximises the first."""
    return pictures_of_each(
        systems,
        overoptimization_pictures,
        caption="Gain of each scorer since the first rollout, in standard deviations of its scores over"
        " held-out responses of the run's starting point; training maximises the first alone. If the first rises and"
        " a held-out one does not, the policy learns the reward model's faults. Bands: lowest to highest seed.",
        missing="No run has several scorers yet.",
    )


def frontier_pictures(system: System) -> tuple[Picture, ...]:
    """Return one picture for each score: the way of each row through the plane of KL and score."""
    pictures = []
    for key, measure in score_measures(system.spec.scores).items():
        with in_style():
            figure = Figure(figsize=SIZE, layout="constrained")
            axes = figure.subplots()
            if _draw_frontier(axes, system, score_metric(key, logged=system.logged), measure):
                title = f"{measure.label} against KL"
                axes.set(title=title, xlabel=_KL_LABEL, ylabel=measure.label)
                add_legend(figure, axes)
                pictures.append(to_picture(figure, name=f"frontier-{key}", alt=title))
    return tuple(pictures)


def _draw_frontier(axes: Axes, system: System, metric: str, measure: Measure) -> bool:
    """Draw each row's training trajectory and its held-out result; return whether any was there."""
    found = False
    for stage, style in row_styles(system.spec).items():
        runs = system.runs_of(stage)
        scores, kl = seed_curves(runs, metric), seed_curves(runs, KL_METRIC)
        look: dict[str, Any] = {"color": style.color, "linestyle": style.line, "linewidth": 1.8}
        if scores is not None and kl is not None:
            joined_kl, joined_scores = kl.mean.align(scores.mean, join="inner")
            axes.plot(joined_kl, joined_scores, **look)
            found = True
        for run in (run for run in runs if run.completions):
            x = t_interval(prompt_values(run.completions, KL))
            y = t_interval(prompt_values(run.completions, measure))
            _draw_result(axes, x, y, style)
            found = True
        axes.plot([], [], **look, **_marker(style), label=style.label)  # for the legend alone
    return found


def _draw_result(axes: Axes, x: Estimate, y: Estimate, style: RowStyle) -> None:
    axes.errorbar(
        x.mean,
        y.mean,
        xerr=x.mean - x.low,
        yerr=y.mean - y.low,
        fmt="none",
        ecolor=style.color,
        elinewidth=1.2,
        alpha=0.6,
        zorder=2.5,
    )
    axes.plot([x.mean], [y.mean], color=style.color, zorder=3, **_marker(style))


def _marker(style: RowStyle) -> dict[str, Any]:
    return {"marker": style.marker, "markersize": 7.5, "markeredgecolor": "white"}


def overoptimization_pictures(system: System) -> list[Picture]:
    """Return a picture with a panel for each trained row, a line for each scorer; none if no row has two scorers."""
    rows = [row for row in system.spec.trained_rows if len(_gains(system, row.stage)) > 1]
    if not rows:
        return []
    with in_style():
        size = (_PANEL[0] * len(rows), _PANEL[1])
        figure = Figure(figsize=size, layout="constrained")
        panels = figure.subplots(1, len(rows), squeeze=False, sharey=True)[0]
        for axes, row in zip(panels, rows, strict=True):
            axes.set(title=row.label, xlabel=UPDATES)
            for key, curves in _gains(system, row.stage).items():
                number = list(system.spec.scores).index(key)
                draw_mean(axes, curves, nth_style(number, system.spec.scores[key]))
            axes.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
        panels[0].set_ylabel("Gain (standard deviations)")
        add_legend(figure, *panels)
        alt = "Gains of the maximised score and of held-out scorers against policy updates"
        return [to_picture(figure, name="overoptimization", alt=alt, wide=len(rows) > 1)]


def _gains(system: System, stage: str) -> dict[str, SeedCurves]:
    """Return each score's curves less their beginnings, over the score's spread on held-out responses."""
    found = {}
    for key in system.spec.scores:
        curves = seed_curves(system.runs_of(stage), score_metric(key, logged=system.logged))
        spread = _spread(system, key)
        if curves is not None and spread:
            smooth = curves.smooth.apply(lambda c, s=spread: (c - c.dropna().iloc[0]) / s)
            found[key] = SeedCurves(raw=curves.raw, smooth=pd.DataFrame(smooth))
    return found


def _spread(system: System, key: str) -> float:
    """Return the standard deviation of a score over the responses of the row that training started from, else all."""
    rows = [system.spec.baseline] if system.spec.baseline else [r.stage for r in system.spec.rows]
    runs = [run for stage in rows for run in system.runs_of(stage)]
    values = [c.scores[key] for run in runs for c in run.completions if key in c.scores]
    return float(np.std(values)) if values else 0.0
