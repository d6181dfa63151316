"""How scores are distributed over the answers to held-out prompts."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import stats

from lightning_marlhf.display.blocks import Picture
from lightning_marlhf.reporting.load import Study
from lightning_marlhf.reporting.plots import add_legend
from lightning_marlhf.reporting.style import RowStyle, in_style, row_styles, to_picture

_PANEL = (4.4, 3.6)
_POINTS = 300
_MARGIN = 0.15  # of the range of the scores, drawn beyond it


def distribution_picture(study: Study) -> Picture | None:
    """Return a panel for each score, a density for each row; None where nothing was scored."""
    found = {key: _scores(study, key) for key in study.spec.scores}
    keys = [key for key, rows in found.items() if rows]
    if not keys:
        return None
    with in_style():
        size = (_PANEL[0] * len(keys), _PANEL[1])
        figure = Figure(figsize=size, layout="constrained")
        panels = figure.subplots(1, len(keys), squeeze=False)[0]
        styles = row_styles(study.spec)
        for axes, key in zip(panels, keys, strict=True):
            label = study.spec.scores[key]
            axes.set(title=label, xlabel=label, yticks=[])
            for stage, values in found[key].items():
                _draw(axes, values, styles[stage], span=_span(list(found[key].values())))
            axes.set_ylim(bottom=0)
        panels[0].set_ylabel("Density")
        add_legend(figure, *panels)
        alt = "Densities of scores over held-out answers, a line per row"
        return to_picture(figure, name="distributions", alt=alt, wide=len(keys) > 1)


def _scores(study: Study, key: str) -> dict[str, np.ndarray]:
    """Return the scores of each row's answers, of all seeds together."""
    found = {
        row.stage: [
            c.scores[key]
            for r in study.runs_of(row.stage)
            for c in r.completions
            if key in c.scores
        ]
        for row in study.spec.rows
    }
    return {stage: np.asarray(values) for stage, values in found.items() if values}


def _span(rows: list[np.ndarray]) -> tuple[float, float]:
    every = np.concatenate(rows)
    margin = _MARGIN * (float(np.ptp(every)) or 1.0)
    return float(every.min()) - margin, float(every.max()) + margin


def _draw(axes: Axes, values: np.ndarray, style: RowStyle, *, span: tuple[float, float]) -> None:
    if np.ptp(values) > 0:  # a density needs two different values
        places = np.linspace(*span, _POINTS)
        density = stats.gaussian_kde(values)(places)
        axes.plot(
            places, density, color=style.color, linestyle=style.line, linewidth=2, label=style.label
        )
        axes.fill_between(places, density, color=style.color, alpha=0.1, linewidth=0)
    axes.axvline(float(values.mean()), color=style.color, linestyle=":", linewidth=1.4)
