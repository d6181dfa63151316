"""Best-of-N as a table and a picture: what the choice is worth to the score that chooses, and to the others."""

from itertools import groupby

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from lightning_marlhf.display.blocks import Cell, Pictures, Table
from lightning_marlhf.records import BestOfN, BestOfNPoint
from lightning_marlhf.reporting.plots import add_legend
from lightning_marlhf.reporting.style import RowStyle, in_style, nth_style, to_picture
from lightning_marlhf.reporting.text import MISSING, mean_with_interval, number

_DECIMALS = 3


def best_of_n_table(found: BestOfN) -> Table:
    """Return a line for each temperature and N."""
    names = _names(found)
    rows = tuple(
        (
            Cell(MISSING if point.temperature is None else f"{point.temperature:g}"),
            Cell(str(point.n)),
            Cell(number(point.kl_bound, 2)),
            *(mean_with_interval(point.scores[name], _DECIMALS) for name in names),
        )
        for point in found.points
    )
    caption = (
        f"{found.num_prompts} prompts, at least {found.num_samples} answers to each. The best of N is chosen by "
        f"{found.chooser}. Unbiased estimates; in brackets intervals of 95 % over prompts. KL: bound on best-of-N's KL "
        "to the policy it draws from, in nats."
    )
    header = ("Temperature", "N", "KL", *(_title(found, name) for name in names))
    return Table(header, rows, caption)


def best_of_n_pictures(found: BestOfN) -> Pictures:
    """Return the picture: a panel for each score, a line for each temperature."""
    names = _names(found)
    with in_style():
        figure = Figure(figsize=(4.6 * len(names) + 0.8, 4.4), layout="constrained")
        panels = figure.subplots(1, len(names), squeeze=False)[0]
        for name, axes in zip(names, panels, strict=True):
            axes.set_title(_title(found, name))
            axes.set_ylabel(f"Score ({name})")
            _draw(axes, found.points, name)
        add_legend(figure, *panels)
        alt = f"Scores of the best of N answers by {found.chooser}, against N"
        picture = to_picture(figure, name="best_of_n", alt=alt, wide=len(names) > 1)
    return Pictures((picture,), "Bands: 95 % over prompts.", folder="")


def _names(found: BestOfN) -> list[str]:
    """Name the score that chooses, then the others."""
    return sorted(found.points[0].scores, key=lambda name: name != found.chooser)


def _title(found: BestOfN, name: str) -> str:
    return (
        f"{name} of the best" if name == found.chooser else f"{name} of the best by {found.chooser}"
    )


def _draw(axes: Axes, points: list[BestOfNPoint], name: str) -> None:
    for number_, (temperature, group) in enumerate(
        groupby(points, lambda point: point.temperature)
    ):
        label = "all answers" if temperature is None else f"T = {temperature:g}"
        _draw_line(axes, list(group), name, nth_style(number_, label))
    ns = sorted({point.n for point in points})
    axes.set(xlabel="N answers to choose from", xscale="log")
    axes.xaxis.set_major_locator(FixedLocator(ns))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticklabels(map(str, ns))
    bounds = {point.n: point.kl_bound for point in points}
    above = axes.secondary_xaxis("top")
    above.set_xticks(ns, [number(bounds[n], 1) for n in ns])
    above.xaxis.set_minor_locator(NullLocator())
    above.set_xlabel("Bound on KL to the policy (nats)")


def _draw_line(axes: Axes, points: list[BestOfNPoint], name: str, style: RowStyle) -> None:
    ns = [point.n for point in points]
    values = [point.scores[name] for point in points]
    if all(value.low is not None for value in values):
        low, high = ([getattr(v, end) for v in values] for end in ("low", "high"))
        axes.fill_between(ns, low, high, color=style.color, alpha=0.14, linewidth=0)
    axes.plot(
        ns,
        [value.mean for value in values],
        color=style.color,
        linestyle=style.line,
        marker=style.marker,
        label=style.label,
    )
