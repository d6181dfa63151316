"""Generated programs: pass@k on held-out problems by difficulty, and kinds of failure during training."""

import re
from collections.abc import Mapping, Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from lightning_marlhf.display.document import Block, Cell, Note, Picture
from lightning_marlhf.display.style import in_style
from lightning_marlhf.display.text import number
from lightning_marlhf.reporting.curves import seed_curves
from lightning_marlhf.reporting.layout import (
    INTERVALS,
    UPDATES,
    Line,
    make_table,
    paper_cell,
    pictures_of_each,
    to_picture,
)
from lightning_marlhf.reporting.load import Run, System
from lightning_marlhf.reporting.spec import ReportRow
from lightning_marlhf.reporting.statistics import Estimate, gain_cell, percentages

KINDS: Mapping[str, tuple[str, str]] = {  # ending of the metric's name -> label and colour
    "passed": ("All tests passed", "#009E73"),
    "wrong": ("Wrong answer", "#E69F00"),
    "runtime": ("Raised, or exceeded a limit", "#D55E00"),
    "compile": ("Does not compile", "#7a7f85"),
}
_MEASURED = re.compile(r"eval/(pass_at_\d+|test_case_average)(?:/(\w+))?")
_OVERALL = "all"
_REPORTED_GAIN = "pass_at_1"  # of which measure the paper's gains are
_PANEL = (3.6, 3.3)
Measured = tuple[str, str]  # "pass_at_5", "interview"


def pass_at_k(systems: Sequence[System]) -> list[Block]:
    """Return pass@k, the test-case average, and the test outcomes during training."""
    lines: list[Line] = [
        (system, _line(system, row, measured))
        for system in systems
        for measured in _measured(system)
        for row in system.spec.rows
    ]
    caption = (
        "Held-out problems. pass@k: fraction of problems solved by one of k programs, unbiased. Gain: over the"
        " reference run, relative. In brackets: 95 % intervals, over seeds, or a bootstrap over problems for one"
        " seed; ±: standard deviation over seeds."
    )
    if any(system.spec.reported is not None for system in systems):
        caption += f" {INTERVALS}"
    table = make_table(lines, caption, num_left=3, name="pass_at_k")
    writing = [system for system in systems if system.spec.programs]
    if table is None and not writing:
        return []
    pictures = pictures_of_each(
        writing,
        kinds_pictures,
        caption="Of the programs in the training rollouts, smoothed; mean over seeds.",
        missing="No run has logged test outcomes (objective/*_passed) yet.",
    )
    return [table or Note("No finished run has pass@k (eval/pass_at_1)."), *pictures]


def _measured(system: System) -> list[Measured]:
    """Return the measures that some row has: overall pass@k first, the test-case average last."""
    runs = [run for row in system.spec.rows for run in system.runs_of(row.stage)]
    found = {measured for run in runs for measured in _results(run)}
    if len({difficulty for _, difficulty in found} - {_OVERALL}) == 1:  # identical to overall
        found = {measured for measured in found if measured[1] == _OVERALL} or found

    def order(measured: Measured) -> tuple[bool, str, bool, int]:
        digits = re.search(r"\d+", measured[0])
        overall = measured[1] == _OVERALL
        return not overall, measured[1], digits is None, int(digits[0]) if digits else 0

    return sorted(found, key=order)


def _results(run: Run) -> dict[Measured, float]:
    return {
        (match[1], match[2] or _OVERALL): value
        for name, value in run.results.items()
        if (match := _MEASURED.fullmatch(name))
    }


def _line(system: System, row: ReportRow, measured: Measured) -> dict[str, Cell]:
    spec, (measure, difficulty) = system.spec, measured
    having = [run for run in system.runs_of(row.stage) if measured in _results(run)]
    ours = _estimate(having, measured)
    gain, paper_gain = Cell(""), Cell("")
    if spec.reference_run is not None and row.stage not in (spec.reference_run, spec.baseline):
        theirs = system.runs_of(spec.reference_run)
        base = _estimate([run for run in theirs if measured in _results(run)], measured).mean
        gain = gain_cell(ours.mean - base, base)
        name = f"{measure}_gain" if measure == _REPORTED_GAIN else ""
        paper_gain = paper_cell(system, name, difficulty, decimals=0, unit=" %")
    tail = "" if difficulty == _OVERALL else f"/{difficulty}"
    counts = [run.results.get(f"eval/num_problems{tail}") for run in having]
    spread = len(system.seeds) > 1 and not spec.label
    return {
        "Difficulty": Cell(difficulty),
        "Run": Cell(row.label),
        "Measure": Cell(measure.replace("_at_", "@").replace("_", " ")),
        "Paper (%)": paper_cell(system, measure, f"{row.stage}/{difficulty}", decimals=1),
        "Ours (%)": ours.spread_cell(1) if spread else ours.cell(1),
        "Paper: gain": paper_gain,
        "Gain": gain,
        "Problems": Cell(number(max(filter(None, counts), default=None), 0)),
        "Seeds": Cell(str(len(having))),
    }


def _estimate(runs: Sequence[Run], measured: Measured) -> Estimate:
    """Return a share in per cent: over seeds; of one seed with the interval over problems that it left."""
    shares = [_results(run)[measured] for run in runs]
    if len(runs) != 1:
        return percentages(shares)
    measure, difficulty = measured
    tail = "" if difficulty == _OVERALL else f"/{difficulty}"
    ends = (f"eval/{measure}_{end}{tail}" for end in ("low", "high"))
    return percentages(shares, [runs[0].results.get(end) for end in ends])


def kinds_pictures(system: System) -> list[Picture]:
    """Return the test outcomes during training as stacked areas; nothing if no run logged them."""
    scorer = system.spec.programs
    shares = {row: _shares(system.runs_of(row.stage), scorer) for row in system.spec.trained_rows}
    rows = [row for row, found in shares.items() if found]
    if not rows:
        return []
    with in_style():
        size = (_PANEL[0] * max(2, len(rows)), _PANEL[1])
        figure = Figure(figsize=size, layout="constrained")
        panels = figure.subplots(1, len(rows), squeeze=False, sharey=True).flatten()
        for axes, row in zip(panels, rows, strict=True):
            _draw_shares(axes, shares[row])
            axes.set_title(row.label, fontsize=10.5)
            axes.set_xlabel(UPDATES)
        panels[0].set_ylabel("Programs in training rollouts")
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower left", ncols=len(labels))
        alt = "Fractions of programs that pass, are wrong, raise, and do not compile, against updates"
        return [to_picture(figure, name="program-kinds", alt=alt, wide=True)]


def _shares(runs: list[Run], scorer: str | None) -> dict[str, pd.Series]:
    """Return the curve of each kind, the mean over seeds."""
    curves = {kind: seed_curves(runs, f"objective/{scorer}_{kind}") for kind in KINDS}
    return {kind: curve.mean for kind, curve in curves.items() if curve is not None}


def _draw_shares(axes: Axes, shares: Mapping[str, pd.Series]) -> None:
    axes.stackplot(
        next(iter(shares.values())).index,
        *map(list, shares.values()),
        labels=[KINDS[kind][0] for kind in shares],
        colors=[KINDS[kind][1] for kind in shares],
        linewidth=0,
    )
    axes.set_ylim(0, 1)
    axes.margins(x=0)
    axes.grid(visible=False)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
