"""How scores are distributed over responses: densities in reports, and the table and histograms of `rm-score`."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import stats

from lightning_marlhf.display.document import Block, Cell, Picture, Pictures, Table
from lightning_marlhf.display.style import in_style
from lightning_marlhf.display.text import number
from lightning_marlhf.records import PolicyScores, RMScores
from lightning_marlhf.reporting.layout import RowStyle, add_legend, nth_style, pictures_of_each, row_styles, to_picture
from lightning_marlhf.reporting.load import System
from lightning_marlhf.reporting.statistics import recorded_cell

_DENSITY_PANEL = (4.4, 3.6)
_POINTS = 300
_MARGIN = 0.15  # of the range of the scores, drawn beyond it
_DECIMALS = 3
_BINS = 40


def distributions(systems: Sequence[System]) -> list[Block]:
    """Return densities of the scores of held-out responses."""
    return pictures_of_each(
        systems,
        density_pictures,
        caption="Responses to held-out prompts, all seeds together; vertical lines: means. Kernel density estimates"
        " with Scott's bandwidth.",
        missing="No run has responded to held-out prompts yet.",
    )


def density_pictures(system: System) -> list[Picture]:
    """Return a picture with a panel for each score, a density for each row; none if nothing was scored."""
    found = {key: _scores(system, key) for key in system.spec.scores}
    keys = [key for key, rows in found.items() if rows]
    if not keys:
        return []
    with in_style():
        size = (_DENSITY_PANEL[0] * len(keys), _DENSITY_PANEL[1])
        figure = Figure(figsize=size, layout="constrained")
        panels = figure.subplots(1, len(keys), squeeze=False)[0]
        styles = row_styles(system.spec)
        for axes, key in zip(panels, keys, strict=True):
            label = system.spec.scores[key]
            axes.set(title=label, xlabel=label, yticks=[])
            for stage, values in found[key].items():
                _draw_density(axes, values, styles[stage], span=_span(list(found[key].values())))
            axes.set_ylim(bottom=0)
        panels[0].set_ylabel("Density")
        add_legend(figure, *panels)
        alt = "Densities of scores over held-out responses, a line per row"
        return [to_picture(figure, name="distributions", alt=alt, wide=len(keys) > 1)]


def _scores(system: System, key: str) -> dict[str, np.ndarray]:
    """Return the scores of each row's responses, of all seeds together."""
    found = {
        row.stage: [c.scores[key] for r in system.runs_of(row.stage) for c in r.completions if key in c.scores]
        for row in system.spec.rows
    }
    return {stage: np.asarray(values) for stage, values in found.items() if values}


def _span(rows: list[np.ndarray]) -> tuple[float, float]:
    every = np.concatenate(rows)
    margin = _MARGIN * (float(np.ptp(every)) or 1.0)
    return float(every.min()) - margin, float(every.max()) + margin


def _draw_density(axes: Axes, values: np.ndarray, style: RowStyle, *, span: tuple[float, float]) -> None:
    if np.ptp(values) > 0:  # a density needs two different values
        places = np.linspace(*span, _POINTS)
        density = stats.gaussian_kde(values)(places)
        axes.plot(places, density, color=style.color, linestyle=style.line, linewidth=2, label=style.label)
        axes.fill_between(places, density, color=style.color, alpha=0.1, linewidth=0)
    axes.axvline(float(values.mean()), color=style.color, linestyle=":", linewidth=1.4)


def rm_score_table(found: RMScores) -> Table:
    """Return a line for each policy and scorer."""
    quantiles = list(next(iter(found.policies[0].scores.values())).quantiles)
    rows = tuple(_row(policy, name, quantiles) for name in found.scorers for policy in found.policies)
    header = (
        *("Policy", "Score", "Mean", "Difference to the first", "Standard deviation"),
        *(f"{100 * float(each):g} %" for each in quantiles),
        *("Responses", "Prompts", "In common"),
    )
    caption = (
        "Means over prompts; standard deviations and quantiles of the responses' scores. In brackets: intervals of 95 %"
        " over prompts; differences are taken on the prompts that both have responses to (in common)."
    )
    return Table(header, rows, caption, num_left=2)


def _row(policy: PolicyScores, name: str, quantiles: Sequence[str]) -> tuple[Cell, ...]:
    score = policy.scores[name]
    return (
        Cell(policy.label),
        Cell(name),
        recorded_cell(score.mean, _DECIMALS),
        recorded_cell(score.difference, _DECIMALS, signed=True),
        Cell(number(score.spread, _DECIMALS)),
        *(Cell(number(score.quantiles[each], 2)) for each in quantiles),
        Cell(f"{policy.num_responses:,}"),
        Cell(f"{policy.num_prompts:,}"),
        Cell(f"{score.num_paired:,}" if score.difference else ""),
    )


def histogram_pictures(scores: Mapping[str, Mapping[str, Sequence[float]]]) -> Pictures:
    """Return the picture: a panel for each scorer, a line for each policy.

    Args:
        scores: of all responses, by scorer and by the policy's label.
    """
    with in_style():
        figure = Figure(figsize=(4.8 * len(scores) + 0.8, 4.1), layout="constrained")
        panels = figure.subplots(1, len(scores), squeeze=False)[0]
        for (name, by_policy), axes in zip(scores.items(), panels, strict=True):
            axes.set(title=f"Distribution of {name}", xlabel=f"Score ({name})")
            axes.set_ylabel("Fraction of responses")
            _draw_histogram(axes, by_policy)
        add_legend(figure, *panels)
        picture = to_picture(
            figure, name="rm_score", alt="Histograms of the responses' scores, a line per policy", wide=len(scores) > 1
        )
    return Pictures((picture,), "Vertical lines: means of the responses.", folder="")


def _draw_histogram(axes: Axes, by_policy: Mapping[str, Sequence[float]]) -> None:
    every = np.concatenate([np.asarray(each) for each in by_policy.values()])
    edges = np.histogram_bin_edges(every, bins=_BINS)
    for n, (label, values) in enumerate(by_policy.items()):
        style = nth_style(n, label)
        shares = np.histogram(values, bins=edges)[0] / len(values)
        axes.stairs(shares, edges, color=style.color, linewidth=1.8, label=style.label)
        axes.stairs(shares, edges, color=style.color, fill=True, alpha=0.12)
        axes.axvline(float(np.mean(values)), color=style.color, linestyle="--", linewidth=1.2)
