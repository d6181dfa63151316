"""Line pictures: score and KL against updates, score against KL, training diagnostics."""

from collections.abc import Iterable, Mapping
from typing import Any

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator

from lightning_marlhf.display.blocks import Picture
from lightning_marlhf.reporting.curves import KL_METRIC, SeedCurves, score_metric, seed_curves
from lightning_marlhf.reporting.load import Study
from lightning_marlhf.reporting.statistics import (
    KL,
    Estimate,
    Measure,
    post_values,
    score_measures,
    t_interval,
)
from lightning_marlhf.reporting.style import RowStyle, in_style, row_styles, to_picture

UPDATES = "Policy updates (optimizer steps)"
KL_LABEL = "KL to the reference policy (nats per response)"
DIAGNOSTICS: Mapping[str, str] = {
    "policy/clipfrac_avg": "Clipped ratios (share of tokens)",
    "policy/entropy_avg": "Entropy (nats per token)",
    "critic/vf_explained_var": "Variance explained by the critic",
    "response_length/mean": "Response length (tokens)",
    "macro/advantage_var": "Variance of advantages before whitening",
}
_SIZE = (5.8, 4.1)
_LEGEND_CHARACTERS = 72  # of labels that fit side by side below a picture


def curve_pictures(study: Study) -> tuple[Picture, ...]:
    """Return one picture for each score and one for KL, against updates."""
    pictures = [
        _curve_picture(study, f"curve-{key}", score_metric(key, logged=study.logged), measure)
        for key, measure in score_measures(study.spec.scores).items()
    ]
    pictures.append(_curve_picture(study, "curve-kl", KL_METRIC, KL))
    return tuple(picture for picture in pictures if picture is not None)


def _curve_picture(study: Study, name: str, metric: str, measure: Measure) -> Picture | None:
    curves = row_curves(study, metric)
    if not curves:
        return None
    what = "KL to the reference policy" if measure is KL else measure.label
    with in_style():
        figure = Figure(figsize=_SIZE, layout="constrained")
        axes = figure.subplots()
        axes.set(title=f"{what} during training", xlabel=UPDATES)
        axes.set_ylabel("KL (nats per response)" if measure is KL else measure.label)
        draw_curves(axes, curves, row_styles(study.spec))
        if measure is not KL:
            _draw_baseline_level(axes, study, measure)
        add_legend(figure, axes)
        return to_picture(figure, name=name, alt=f"{what} against policy updates, a line per row")


def row_curves(study: Study, metric: str) -> dict[str, SeedCurves]:
    """Return the curves of each row that has logged the metric, by stage."""
    found = {row.stage: seed_curves(study.runs_of(row.stage), metric) for row in study.spec.rows}
    return {stage: curves for stage, curves in found.items() if curves is not None}


def draw_curves(
    axes: Axes, curves: Mapping[str, SeedCurves], styles: Mapping[str, RowStyle]
) -> None:
    """Draw each row's smoothed mean over seeds, the seeds' range as a band, raw values faint."""
    for stage, row in curves.items():
        style = styles[stage]
        for raw in row.raw:
            axes.plot(raw.index, raw, color=style.color, alpha=0.22, linewidth=0.7)
        if len(row.raw) > 1:
            axes.fill_between(
                row.mean.index, row.low, row.high, color=style.color, alpha=0.16, linewidth=0
            )
        axes.plot(
            row.mean.index,
            row.mean,
            color=style.color,
            linestyle=style.line,
            linewidth=2.1,
            label=style.label,
        )
    axes.margins(x=0.01)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))


def _draw_baseline_level(axes: Axes, study: Study, measure: Measure) -> None:
    """Draw the baseline's mean on held-out posts as a dashed level."""
    runs = [run for run in study.runs_of(study.spec.baseline) if run.completions]
    posts = [values for run in runs if len(values := post_values(run.completions, measure))]
    if posts and study.spec.baseline is not None:
        level = t_interval([values.mean() for values in posts]).mean
        style = row_styles(study.spec)[study.spec.baseline]
        axes.axhline(
            level, color=style.color, linestyle=style.line, linewidth=1.3, label=style.label
        )


def frontier_pictures(study: Study) -> tuple[Picture, ...]:
    """Return one picture for each score: the way of each row through the plane of KL and score."""
    pictures = []
    for key, measure in score_measures(study.spec.scores).items():
        with in_style():
            figure = Figure(figsize=_SIZE, layout="constrained")
            axes = figure.subplots()
            if _draw_frontier(axes, study, score_metric(key, logged=study.logged), measure):
                title = f"{measure.label} against KL"
                axes.set(title=title, xlabel=KL_LABEL, ylabel=measure.label)
                add_legend(figure, axes)
                pictures.append(to_picture(figure, name=f"frontier-{key}", alt=title))
    return tuple(pictures)


def _draw_frontier(axes: Axes, study: Study, metric: str, measure: Measure) -> bool:
    """Draw each row's training trajectory and its held-out result; return whether any was there."""
    found = False
    for stage, style in row_styles(study.spec).items():
        runs = study.runs_of(stage)
        scores, kl = seed_curves(runs, metric), seed_curves(runs, KL_METRIC)
        look: dict[str, Any] = {"color": style.color, "linestyle": style.line, "linewidth": 1.8}
        if scores is not None and kl is not None:
            joined_kl, joined_scores = kl.mean.align(scores.mean, join="inner")
            axes.plot(joined_kl, joined_scores, **look)
            found = True
        for run in (run for run in runs if run.completions):
            x = t_interval(post_values(run.completions, KL))
            y = t_interval(post_values(run.completions, measure))
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


def diagnostics_picture(
    study: Study, metrics: Mapping[str, str] = DIAGNOSTICS, *, name: str = "diagnostics"
) -> Picture | None:
    """Return small multiples of some metrics; by default, of what tells a healthy run from a sick one.

    Args:
        study: the runs.
        metrics: name of a metric -> title of its panel.
        name: of the picture.
    """
    curves = {metric: row_curves(study, metric) for metric in metrics}
    logged = [metric for metric in metrics if curves[metric]]
    if not logged:
        return None
    num_lines = (len(logged) + 1) // 2
    with in_style():
        figure = Figure(
            figsize=(8.6, 2.6 * num_lines + 0.5), layout=ConstrainedLayoutEngine(h_pad=0.09)
        )
        panels = figure.subplots(num_lines, 2, squeeze=False).flatten()
        for axes, metric in zip(panels, logged, strict=False):
            axes.set_title(metrics[metric], fontsize=10.5)
            draw_curves(axes, curves[metric], row_styles(study.spec))
            if axes.get_subplotspec().is_last_row() or metric in logged[-2:]:
                axes.set_xlabel(UPDATES)
        for axes in panels[len(logged) :]:
            axes.set_axis_off()
        if len(logged) < len(panels):
            panels[-1].legend(*legend_entries(panels), loc="center left")
        else:
            add_legend(figure, *panels)
        alt = "Training diagnostics against policy updates: " + ", ".join(
            metrics[metric] for metric in logged
        )
        return to_picture(figure, name=name, alt=alt, wide=True)


def add_legend(figure: Figure, *panels: Axes) -> None:
    """Name the rows below the figure, each once."""
    handles, labels = legend_entries(panels)
    if not labels:
        return
    width = _LEGEND_CHARACTERS * figure.get_figwidth() / _SIZE[0]
    ncols = max(1, min(len(labels), int(width // (max(map(len, labels)) + 4))))
    figure.legend(handles, labels, loc="outside lower left", ncols=ncols)


def legend_entries(panels: Iterable[Axes]) -> tuple[list[Artist], list[str]]:
    """Return the handles and labels of all panels, each label once."""
    entries: dict[str, Artist] = {}
    for axes in panels:
        handles, labels = axes.get_legend_handles_labels()
        entries |= {label: h for h, label in zip(handles, labels, strict=True)}
    return list(entries.values()), list(entries)
