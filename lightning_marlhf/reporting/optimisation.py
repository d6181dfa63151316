"""Over-optimisation: what the score that is maximised gains, beside what scorers gain that no training sees."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from lightning_marlhf.display.blocks import Picture
from lightning_marlhf.reporting.curves import SeedCurves, score_metric, seed_curves
from lightning_marlhf.reporting.load import Study
from lightning_marlhf.reporting.plots import UPDATES, add_legend
from lightning_marlhf.reporting.style import in_style, nth_style, to_picture

_PANEL = (4.2, 3.7)


def optimisation_picture(study: Study) -> Picture | None:
    """Return a panel for each trained row, a line for each scorer; None where no row has two scorers."""
    rows = [row for row in study.spec.trained_rows if len(_gains(study, row.stage)) > 1]
    if not rows:
        return None
    with in_style():
        size = (_PANEL[0] * len(rows), _PANEL[1])
        figure = Figure(figsize=size, layout="constrained")
        panels = figure.subplots(1, len(rows), squeeze=False, sharey=True)[0]
        for axes, row in zip(panels, rows, strict=True):
            axes.set(title=row.label, xlabel=UPDATES)
            _draw(axes, study, _gains(study, row.stage))
        panels[0].set_ylabel("Gain (standard deviations)")
        add_legend(figure, *panels)
        alt = "Gains of the maximised score and of held-out scorers against policy updates"
        return to_picture(figure, name="optimisation", alt=alt, wide=len(rows) > 1)


def _gains(study: Study, stage: str) -> dict[str, SeedCurves]:
    """Return each score's curves less their beginnings, over the score's spread on held-out answers."""
    found = {}
    for key in study.spec.scores:
        curves = seed_curves(study.runs_of(stage), score_metric(key, logged=study.logged))
        spread = _spread(study, key)
        if curves is not None and spread:
            smooth = curves.smooth.apply(lambda c, s=spread: (c - c.dropna().iloc[0]) / s)
            found[key] = SeedCurves(raw=curves.raw, smooth=pd.DataFrame(smooth))
    return found


def _spread(study: Study, key: str) -> float:
    """Return the standard deviation of a score over the answers of the row that training started from, else all."""
    rows = [study.spec.baseline] if study.spec.baseline else [r.stage for r in study.spec.rows]
    runs = [run for stage in rows for run in study.runs_of(stage)]
    values = [c.scores[key] for run in runs for c in run.completions if key in c.scores]
    return float(np.std(values)) if values else 0.0


def _draw(axes: Axes, study: Study, curves: dict[str, SeedCurves]) -> None:
    for key, curve in curves.items():
        style = nth_style(list(study.spec.scores).index(key), study.spec.scores[key])
        look = {"color": style.color, "linestyle": style.line}
        if curve.smooth.shape[1] > 1:
            axes.fill_between(
                curve.mean.index, curve.low, curve.high, color=style.color, alpha=0.15, linewidth=0
            )
        axes.plot(curve.mean.index, curve.mean, linewidth=2, label=style.label, **look)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
