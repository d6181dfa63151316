"""What becomes of the programs that a policy writes: pass@k on held-out problems, kinds of failure during training."""

import re
from collections.abc import Mapping

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from lightning_marlhf.display.blocks import Cell, Picture, Table
from lightning_marlhf.reporting.curves import seed_curves
from lightning_marlhf.reporting.load import Run, Study
from lightning_marlhf.reporting.plots import UPDATES
from lightning_marlhf.reporting.statistics import t_interval
from lightning_marlhf.reporting.style import in_style, to_picture
from lightning_marlhf.reporting.text import MISSING, number, with_spread

KINDS: Mapping[str, tuple[str, str]] = {  # ending of the metric's name -> label and colour
    "passed": ("All tests passed", "#009E73"),
    "wrong": ("Wrong answer", "#E69F00"),
    "runtime": ("Raised, or exceeded a limit", "#D55E00"),
    "compile": ("Does not compile", "#7a7f85"),
}
_NUMBERS = re.compile(r"eval/(pass_at_\d+|test_case_average)")
_PANEL = (3.6, 3.3)


def pass_at_k_table(study: Study) -> Table | None:
    """Return pass@k and the test-case average of every row; None where no run has them."""
    rows = [(row.label, study.runs_of(row.stage)) for row in study.spec.rows]
    names = sorted({n for _, runs in rows for run in runs for n in _numbers(run)}, key=_order)
    if not names:
        return None
    several = len(study.seeds) > 1
    show = _over_seeds if several else _of_one_seed
    caption = (
        "Mean over seeds ± standard deviation over seeds."
        if several
        else "95 % bootstrap interval over problems."
    )
    return Table(
        header=("Row", "Problems", *map(_label, names)),
        rows=tuple(
            (Cell(label), Cell(_problems(runs)), *(show(runs, name) for name in names))
            for label, runs in rows
        ),
        caption=f"Held-out problems, in %. pass@k: a problem is solved by one of k programs, unbiased. {caption}",
    )


def kinds_picture(study: Study, scorer: str) -> Picture | None:
    """Return how programs fared during training, as areas that add up to all of them; None where no run says it.

    Args:
        study: the runs.
        scorer: name of the scorer that ran the tests.
    """
    shares = {row: _shares(study.runs_of(row.stage), scorer) for row in study.spec.trained_rows}
    rows = [row for row, found in shares.items() if found]
    if not rows:
        return None
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
        alt = "Shares of programs that pass, are wrong, raise, and do not compile, against updates"
        return to_picture(figure, name="program-kinds", alt=alt, wide=True)


def _shares(runs: list[Run], scorer: str) -> dict[str, pd.Series]:
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


def _numbers(run: Run) -> dict[str, float]:
    metrics = run.summary.metrics if run.summary else {}
    return {name: value for name, value in metrics.items() if _NUMBERS.fullmatch(name)}


def _order(name: str) -> tuple[bool, int]:
    digits = re.findall(r"\d+", name)
    return not digits, int(digits[0]) if digits else 0


def _label(name: str) -> str:
    return name.removeprefix("eval/").replace("_at_", "@").replace("_", " ")


def _problems(runs: list[Run]) -> str:
    counts = [run.summary.metrics.get("eval/num_problems") for run in runs if run.summary]
    return number(max(filter(None, counts), default=None), 0)


def _over_seeds(runs: list[Run], name: str) -> Cell:
    values = [100 * _numbers(run)[name] for run in runs if name in _numbers(run)]
    return with_spread(t_interval(values), 1)


def _of_one_seed(runs: list[Run], name: str) -> Cell:
    run = next((run for run in runs if name in _numbers(run)), None)
    if run is None or run.summary is None:
        return Cell(MISSING)
    metrics = run.summary.metrics
    low, high = (metrics.get(f"{name}_{end}") for end in ("low", "high"))
    detail = "" if low is None or high is None else f"[{100 * low:.1f}, {100 * high:.1f}]"
    return Cell(number(100 * metrics[name], 1), detail)
