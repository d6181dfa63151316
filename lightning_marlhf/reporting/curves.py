"""Training curves against optimizer updates: smoothing, aggregation over seeds, figures."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator

from lightning_marlhf.display.document import Block, Cell, Picture
from lightning_marlhf.display.style import in_style
from lightning_marlhf.reporting.layout import (
    SIZE,
    UPDATES,
    Line,
    RowStyle,
    add_legend,
    legend_entries,
    make_table,
    pictures_of_each,
    row_styles,
    to_picture,
)
from lightning_marlhf.reporting.load import Run, System
from lightning_marlhf.reporting.statistics import KL, Measure, score_measures, seed_means

KL_METRIC = "objective/kl"
TRAINED_SCORE_METRIC = "objective/scores"
# Display name of the training scorer when it has no metric of its own.
_TRAINED_SCORES = ("rm", "score")
DIAGNOSTICS: Mapping[str, str] = {  # training-health metrics -> title
    "policy/clipfrac_avg": "Clipped ratios (fraction of tokens)",
    "policy/entropy_avg": "Entropy (nats per token)",
    "critic/vf_explained_var": "Variance explained by the critic",
    "response_length/mean": "Response length (tokens)",
    "macro/advantage_var": "Variance of advantages before whitening",
}
_LOSSES = ("loss/", "eval/loss", "eval/accuracy", "reward_model/accuracy")
_MOST_LOSSES = 8
_NOT_RESULTS = ("timing_s/", "perf/", "lr", "episode")  # prefixes of metrics that are no results


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
    """Return the smoothing window in points (odd): about a tenth of the curve."""
    return 2 * (num_points // 20) + 1


def smooth(curve: pd.Series) -> pd.Series:
    """Return the centred moving mean; at the ends, the mean of the points that are there."""
    window = smoothing_window(len(curve))
    return curve.rolling(window, center=True, min_periods=1).mean()


def seed_curves(runs: Sequence[Run], metric: str) -> SeedCurves | None:
    """Return a row's curves of one metric; None if no run has logged it."""
    curves = {run.seed: curve for run in runs if len(curve := run.metric(metric))}
    if not curves:
        return None
    return SeedCurves(
        raw=tuple(curves.values()), smooth=pd.DataFrame({seed: smooth(curve) for seed, curve in curves.items()})
    )


def final_level(curve: pd.Series) -> float:
    """Return where the smoothed curve ends."""
    return float(smooth(curve).iloc[-1])


def updates_to_reach(curve: pd.Series, *, level: float) -> int | None:
    """Return the first update at which the smoothed curve is at ``level`` or above, or None."""
    reached = smooth(curve) >= level
    return int(reached.index[reached.argmax()]) if reached.any() else None


def curves(systems: Sequence[System]) -> list[Block]:
    """Return each score and KL against updates."""
    return pictures_of_each(
        systems,
        curve_pictures,
        caption="Means over the training rollouts. Bold: moving mean over a tenth of the curve, mean over seeds; faint:"
        " as logged; band: lowest to highest seed. Dashed grey: the baseline's mean on held-out prompts.",
        missing="No run has logged objective/* metrics yet.",
    )


def diagnostics(systems: Sequence[System]) -> list[Block]:
    """Return the training-health diagnostics."""
    return pictures_of_each(
        systems,
        lambda system: small_multiples(system, DIAGNOSTICS, name="diagnostics"),
        caption="Bold: smoothed; faint: as logged; band: lowest to highest seed.",
        missing="No run has logged diagnostics yet.",
    )


def losses(systems: Sequence[System]) -> list[Block]:
    """Return the losses and accuracies of training."""

    def make(system: System) -> list[Picture]:
        names = sorted(name for name in system.logged if name.startswith(_LOSSES))
        return small_multiples(system, {n: n for n in names[:_MOST_LOSSES]}, name="losses")

    return pictures_of_each(
        systems,
        make,
        caption="Bold: smoothed; faint: as logged; band: lowest to highest seed.",
        missing="No run has logged losses yet.",
    )


def last_values(systems: Sequence[System]) -> list[Block]:
    """Return the last logged metrics of untested runs, one line per metric; None if all were tested."""
    lines: list[Line] = []
    for system in systems:
        rows = [row for row in system.spec.rows if not system.tested(row.stage)]
        for name in sorted(system.logged):
            cells = {row.label: _last_cell(system.runs_of(row.stage), name) for row in rows}
            if any(cell.value for cell in cells.values()) and not name.startswith(_NOT_RESULTS):
                lines.append((system, {"Metric": Cell(name), **cells}))
    caption = "As logged, not smoothed; of several seeds the mean. In brackets: the update."
    table = make_table(lines, caption)
    return [] if table is None else [table]


def _last_cell(runs: Sequence[Run], name: str) -> Cell:
    logged = [curve for run in runs if len(curve := run.metric(name))]
    if not logged:
        return Cell("")
    updates = sorted({int(curve.index[-1]) for curve in logged})
    mean = sum(float(curve.iloc[-1]) for curve in logged) / len(logged)
    return Cell(f"{mean:.4g}", f"({' to '.join(map(str, dict.fromkeys((updates[0], updates[-1]))))})")


def curve_pictures(system: System) -> tuple[Picture, ...]:
    """Return one picture for each score and one for KL, against updates."""
    pictures = [
        _curve_picture(system, f"curve-{key}", score_metric(key, logged=system.logged), measure)
        for key, measure in score_measures(system.spec.scores).items()
    ]
    pictures.append(_curve_picture(system, "curve-kl", KL_METRIC, KL))
    return tuple(picture for picture in pictures if picture is not None)


def _curve_picture(system: System, name: str, metric: str, measure: Measure) -> Picture | None:
    curves = row_curves(system, metric)
    if not curves:
        return None
    label = "KL to the reference policy" if measure is KL else measure.label
    with in_style():
        figure = Figure(figsize=SIZE, layout="constrained")
        axes = figure.subplots()
        axes.set(title=f"{label} during training", xlabel=UPDATES)
        axes.set_ylabel("KL (nats per response)" if measure is KL else measure.label)
        draw_curves(axes, curves, row_styles(system.spec))
        if measure is not KL:
            _draw_baseline_level(axes, system, measure)
        add_legend(figure, axes)
        return to_picture(figure, name=name, alt=f"{label} against policy updates, a line per row")


def row_curves(system: System, metric: str) -> dict[str, SeedCurves]:
    """Return the curves of each row that has logged the metric, by stage."""
    found = {row.stage: seed_curves(system.runs_of(row.stage), metric) for row in system.spec.rows}
    return {stage: curves for stage, curves in found.items() if curves is not None}


def draw_curves(axes: Axes, curves: Mapping[str, SeedCurves], styles: Mapping[str, RowStyle]) -> None:
    """Draw each row's smoothed mean over seeds, the seeds' range as a band, raw values faint."""
    for stage, row in curves.items():
        for raw in row.raw:
            axes.plot(raw.index, raw, color=styles[stage].color, alpha=0.22, linewidth=0.7)
        draw_mean(axes, row, styles[stage])
    axes.margins(x=0.01)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))


def draw_mean(axes: Axes, curves: SeedCurves, style: RowStyle) -> None:
    """Draw the smoothed mean over seeds, and of several seeds their range as a band."""
    mean, look = curves.mean, {"color": style.color}
    if len(curves.raw) > 1:
        axes.fill_between(mean.index, curves.low, curves.high, alpha=0.16, linewidth=0, **look)
    axes.plot(mean.index, mean, linestyle=style.line, linewidth=2.1, label=style.label, **look)


def _draw_baseline_level(axes: Axes, system: System, measure: Measure) -> None:
    """Draw the baseline's mean on held-out prompts as a dashed level."""
    level = seed_means(system.tested(system.spec.baseline), measure).mean
    if system.spec.baseline is not None and isfinite(level):
        style = row_styles(system.spec)[system.spec.baseline]
        axes.axhline(level, color=style.color, linestyle=style.line, linewidth=1.3, label=style.label)


def small_multiples(system: System, titles: Mapping[str, str], *, name: str) -> list[Picture]:
    """Return one picture of small panels, one for each metric that some row has logged; none without any.

    Args:
        system: With its runs.
        titles: Name of a metric -> title of its panel.
        name: Of the picture.
    """
    found = {metric: row_curves(system, metric) for metric in titles}
    logged = [metric for metric in titles if found[metric]]
    if not logged:
        return []
    num_lines = (len(logged) + 1) // 2
    with in_style():
        figure = Figure(figsize=(8.6, 2.6 * num_lines + 0.5), layout=ConstrainedLayoutEngine(h_pad=0.09))
        panels = figure.subplots(num_lines, 2, squeeze=False).flatten()
        for axes, metric in zip(panels, logged, strict=False):
            axes.set_title(titles[metric], fontsize=10.5)
            draw_curves(axes, found[metric], row_styles(system.spec))
            if axes.get_subplotspec().is_last_row() or metric in logged[-2:]:
                axes.set_xlabel(UPDATES)
        for axes in panels[len(logged) :]:
            axes.set_axis_off()
        if len(logged) < len(panels):
            panels[-1].legend(*legend_entries(panels), loc="center left")
        else:
            add_legend(figure, *panels)
        alt = f"{name.capitalize()} against policy updates: " + ", ".join(titles[metric] for metric in logged)
        return [to_picture(figure, name=name, alt=alt, wide=True)]
