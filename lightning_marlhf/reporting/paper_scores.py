"""The paper's tables of scores: one line per system and run, the paper's number beside ours."""

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lightning_marlhf.display.blocks import Block, Cell, Note, Pictures, Table
from lightning_marlhf.reporting.statistics import Estimate, Measure, score_measures
from lightning_marlhf.reporting.style import in_style, row_styles, to_picture
from lightning_marlhf.reporting.systems import INTERVALS, System, over_seeds
from lightning_marlhf.reporting.tables import answered, difference_on_posts, difference_over_seeds
from lightning_marlhf.reporting.text import MISSING, number, with_interval

_PANEL_WIDTH, _LINE_HEIGHT = 3.6, 0.42


def score_table(systems: Sequence[System]) -> list[Block]:
    """Return every run's scores, and what it gains over the reference run."""
    scores = systems[0].study.spec.scores
    first, *others = scores.values()
    header = ("System", "Run", f"Paper: {first}", first, "Paper: gain", "Gain", "Difference")
    rows = [
        (Cell(system.label if n == 0 else ""), *_line(system, row.stage))
        for system in systems
        for n, row in enumerate(system.study.spec.rows)
    ]
    reference = systems[0].study.spec
    name = reference.label(reference.reference_run) if reference.reference_run else "none"
    caption = (
        f"Means over held-out prompts. Gain and difference: {first}, against {name}; the gain is the difference over"
        f" the size of {name}'s mean. {INTERVALS}"
    )
    return [Table((*header, *others, "Seeds"), tuple(rows), caption, num_left=2, name="scores")]


def _line(system: System, stage: str) -> tuple[Cell, ...]:
    study = system.study
    runs = study.runs_of(stage)
    key, *_ = study.spec.scores
    first, *others = score_measures(study.spec.scores).values()
    return (
        Cell(study.spec.label(stage)),
        system.paper(key, stage, decimals=first.decimals),
        with_interval(over_seeds(runs, first), first.decimals),
        *_gain(system, stage, first),
        *(with_interval(over_seeds(runs, each), each.decimals) for each in others),
        Cell(str(len(answered(runs)))),
    )


def _gain(system: System, stage: str, measure: Measure) -> tuple[Cell, Cell, Cell]:
    """Return the paper's gain over the reference run, ours, and our difference."""
    study, reference = system.study, system.study.spec.reference_run
    if reference is None or stage in (reference, study.spec.baseline):
        return Cell(""), Cell(""), Cell("")
    found = difference(system, stage, measure)
    base = over_seeds(study.runs_of(reference), measure).mean
    gain = 100 * found.mean / abs(base) if base else math.nan
    ours = number(gain, 0, signed=True)
    return (
        system.paper("gain", stage, decimals=0, unit=" %"),
        Cell(ours if ours == MISSING else f"{ours} %"),
        with_interval(found, measure.decimals, signed=True),
    )


def difference(system: System, stage: str, measure: Measure) -> Estimate:
    """Return what a run has more than the reference run, over seeds, or over prompts where there is one."""
    study = system.study
    reference = study.spec.reference_run
    assert reference is not None
    seeds = [run for run in study.runs_of(stage) if run.completions]
    compare = difference_over_seeds if len(seeds) > 1 else difference_on_posts
    return compare(study, stage, reference, measure)


def score_picture(systems: Sequence[System]) -> list[Block]:
    """Return all runs' scores as points with intervals, a panel for each score."""
    measures = score_measures(systems[0].study.spec.scores)
    lines = [(system, row.stage) for system in systems for row in system.study.spec.rows]
    if not any(answered(system.study.runs_of(stage)) for system, stage in lines):
        return [Note("No run has answered held-out prompts yet.")]
    with in_style():
        size = (_PANEL_WIDTH * len(measures) + 1.8, _LINE_HEIGHT * len(lines) + 1.5)
        figure = Figure(figsize=size, layout="constrained")
        panels = figure.subplots(1, len(measures), squeeze=False, sharey=True)[0]
        for number_, (axes, (key, measure)) in enumerate(
            zip(panels, measures.items(), strict=True)
        ):
            axes.set_title(measure.label)
            _draw_points(axes, lines, key if number_ == 0 else None, measure)
        panels[0].set_yticks(range(len(lines)), [_name(*line, len(systems)) for line in lines])
        panels[0].invert_yaxis()  # all panels share it
        picture = to_picture(figure, name="scores", alt="Scores of all runs", wide=True)
    caption = (
        f"Bars: 95 % intervals, over seeds where there are several. {_legend(systems)}".strip()
    )
    return [Pictures((picture,), caption)]


def _name(system: System, stage: str, num_systems: int) -> str:
    label = system.study.spec.label(stage)
    return label if num_systems == 1 else f"{system.label}: {label}"


def _legend(systems: Sequence[System]) -> str:
    known = any(system.reported is not None for system in systems)
    return "Hollow diamonds: the paper's numbers, where we have them." if known else ""


def _draw_points(
    axes: Axes, lines: Sequence[tuple[System, str]], key: str | None, measure: Measure
) -> None:
    """Draw one score; ``key`` names it where the paper reports it."""
    for height, (system, stage) in enumerate(lines):
        style = row_styles(system.study.spec)[stage]
        found = over_seeds(system.study.runs_of(stage), measure)
        if found.count:
            half = 0.0 if math.isnan(found.low) else found.mean - found.low
            axes.errorbar(
                found.mean, height, xerr=half, fmt=style.marker, color=style.color, markersize=7
            )
        paper = None if key is None else system.paper_value(key, stage)
        if paper is not None:
            axes.plot(paper, height, marker="D", color="#222222", fillstyle="none", markersize=8)
    axes.grid(visible=False, axis="y")
    axes.set_ylim(-0.6, len(lines) - 0.4)
