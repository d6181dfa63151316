"""Best-of-N sampling: the expected score of the best of N responses, of one or several runs."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from math import nan
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from lightning_marlhf.display.document import Block, Cell, Note, Picture, Pictures, Table
from lightning_marlhf.display.style import in_style
from lightning_marlhf.display.text import MISSING, number
from lightning_marlhf.records import BestOfN, BestOfNPoint, MeanInterval
from lightning_marlhf.reporting.layout import Line, RowStyle, add_legend, make_table, nth_style, paper_cell, to_picture
from lightning_marlhf.reporting.load import System
from lightning_marlhf.reporting.statistics import Estimate, recorded_cell, t_interval

_RESULTS = "best_of_n.json"
_DECIMALS = 3
_PANEL = (3.4, 3.4)
_NAMES_IN_RUNS = {"held_out": "rm_heldout"}  # scorer name in best-of-n -> in runs
Results = Mapping[str, Sequence[BestOfN]]  # label of a run -> one for each seed


def best_of_n_table(found: BestOfN) -> Table:
    """Return a line for each temperature and N of one pool of responses."""
    names = _scorers(found)
    rows = tuple(
        (
            Cell(MISSING if point.temperature is None else f"{point.temperature:g}"),
            Cell(str(point.n)),
            Cell(number(point.kl_bound, 2)),
            *(recorded_cell(point.scores[name], _DECIMALS) for name in names),
        )
        for point in found.points
    )
    caption = (
        f"{found.num_prompts} prompts, at least {found.num_samples} responses to each. The best of N is chosen by "
        f"{found.chooser}. Unbiased estimates; in brackets intervals of 95 % over prompts. KL: bound on best-of-N's KL "
        "to the policy it draws from, in nats."
    )
    header = ("Temperature", "N", "KL", *(_title(found, name) for name in names))
    return Table(header, rows, caption)


def best_of_n_pictures(found: BestOfN) -> Pictures:
    """Return a panel for each score, a line for each temperature, of one pool of responses."""
    names = _scorers(found)
    with in_style():
        figure = Figure(figsize=(4.6 * len(names) + 0.8, 4.4), layout="constrained")
        panels = figure.subplots(1, len(names), squeeze=False)[0]
        for name, axes in zip(names, panels, strict=True):
            axes.set_title(_title(found, name))
            axes.set_ylabel(f"Score ({name})")
            _draw_temperatures(axes, found.points, name)
        add_legend(figure, *panels)
        alt = f"Scores of the best of N responses by {found.chooser}, against N"
        picture = to_picture(figure, name="best_of_n", alt=alt, wide=len(names) > 1)
    return Pictures((picture,), "Bands: 95 % over prompts.", folder="")


def best_of_n(systems: Sequence[System]) -> list[Block]:
    """Return a table of several runs, and a picture for each system; nothing of systems without evaluations."""
    found = [(system, results) for system in systems if (results := _results(system))]
    if not found:
        evaluated = any(system.spec.evaluations for system in systems)
        return [Note("No pool of responses has been scored yet.")] if evaluated else []
    caption = (
        "The best of N responses is chosen by the reward model of training; a panel for each temperature and scorer."
        " Bands: lowest to highest seed; 95 % over prompts for one seed."
    )
    pictures = [
        Pictures((_runs_picture(results, system),), f"{system.spec.label}. {caption}".lstrip(". "))
        for system, results in found
    ]
    return [_runs_table(found), *pictures]


def _results(system: System) -> Results:
    return {
        system.spec.label_of(stage.removeprefix("best_of_n_")): results
        for stage, results in system.evaluations(_RESULTS, BestOfN.from_dict).items()
    }


def _runs_table(found: Sequence[tuple[System, Results]]) -> Table:
    lines: list[Line] = []
    for system, by_run in found:
        for label, results in by_run.items():
            for temperature, n in _places(results[0]):
                where = f"{label}/{temperature:g}/{n}"
                scores = {
                    _label(name, system): _over_seeds(_at(results, name, temperature, n))
                    for name in _scorers(results[0])
                }
                line = {
                    "Run": Cell(label),
                    "Temperature": Cell(f"{temperature:g}"),
                    "N": Cell(str(n)),
                    "Paper": paper_cell(system, "best_of_n", where, decimals=2),
                    **{title: point.estimate.cell(2) for title, point in scores.items()},
                    "Seeds": Cell(str(len(results))),
                }
                lines.append((system, line))
    caption = (
        "Expected score of the best of N responses, unbiased, from one pool of responses to each prompt. In brackets:"
        " 95 % intervals, over seeds, or over prompts for one seed."
    )
    table = make_table(lines, caption, num_left=3, name="best_of_n")
    assert table is not None
    return table


class _Point(NamedTuple):
    """A score over seeds, and the ends of its band."""

    estimate: Estimate
    low: float  # lowest seed; of one seed the end of its interval over prompts
    high: float


def _at(results: Sequence[BestOfN], name: str, temperature: float, n: int) -> list[MeanInterval]:
    """Return one score for each seed."""
    return [
        point.scores[name]
        for each in results
        for point in each.points
        if (point.temperature or 0.0, point.n) == (temperature, n)
    ]


def _over_seeds(scores: Sequence[MeanInterval]) -> _Point:
    means = [score.mean for score in scores]
    low, high = scores[0].low, scores[0].high
    if len(scores) == 1 and low is not None and high is not None:
        return _Point(Estimate(means[0], low, high, nan, 1), low, high)
    return _Point(t_interval(means), min(means), max(means))


def _runs_picture(found: Results, system: System) -> Picture:
    first = next(iter(found.values()))[0]
    names, places = _scorers(first), _places(first)
    temperatures = sorted({temperature for temperature, _ in places})
    with in_style():
        size = (_PANEL[0] * max(2, len(temperatures)), _PANEL[1] * len(names))
        figure = Figure(figsize=size, layout="constrained")
        panels = figure.subplots(len(names), len(temperatures), squeeze=False, sharex=True, sharey="row")
        for name, line in zip(names, panels, strict=True):
            line[0].set_ylabel(f"{_label(name, system)} of the best")
            for temperature, axes in zip(temperatures, line, strict=True):
                ns = [n for at, n in places if at == temperature]
                for number_, (label, results) in enumerate(found.items()):
                    points = [_over_seeds(_at(results, name, temperature, n)) for n in ns]
                    _draw_line(axes, ns, points, nth_style(number_, label))
                axes.set_xscale("log", base=2)
                _tick(axes, ns)
        for temperature, top, bottom in zip(temperatures, panels[0], panels[-1], strict=True):
            top.set_title(f"Temperature {temperature:g}")
            bottom.set_xlabel("N responses to choose from")
        add_legend(figure, *panels.flatten())
        alt = "Scores of the best of N responses against N, a line per run"
        return to_picture(figure, name=f"best-of-n-{system.spec.name}", alt=alt, wide=True)


def _draw_temperatures(axes: Axes, points: Sequence[BestOfNPoint], name: str) -> None:
    by_temperature = groupby(points, lambda point: point.temperature)
    for number_, (temperature, group) in enumerate(by_temperature):
        label = "all responses" if temperature is None else f"T = {temperature:g}"
        line = list(group)
        drawn = [_over_seeds([point.scores[name]]) for point in line]
        _draw_line(axes, [point.n for point in line], drawn, nth_style(number_, label))
    ns = sorted({point.n for point in points})
    axes.set(xlabel="N responses to choose from", xscale="log")
    _tick(axes, ns)
    bounds = {point.n: point.kl_bound for point in points}
    above = axes.secondary_xaxis("top")
    above.set_xticks(ns, [number(bounds[n], 1) for n in ns])
    above.xaxis.set_minor_locator(NullLocator())
    above.set_xlabel("Bound on KL to the policy (nats)")


def _draw_line(axes: Axes, ns: Sequence[int], points: Sequence[_Point], style: RowStyle) -> None:
    look = {"color": style.color, "linestyle": style.line, "marker": style.marker}
    axes.plot(ns, [point.estimate.mean for point in points], label=style.label, **look)
    low, high = [point.low for point in points], [point.high for point in points]
    axes.fill_between(ns, low, high, color=style.color, alpha=0.14, linewidth=0)


def _tick(axes: Axes, ns: Sequence[int]) -> None:
    axes.xaxis.set_major_locator(FixedLocator(list(ns)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticks(list(ns), list(map(str, ns)))


def _scorers(found: BestOfN) -> list[str]:
    """Name the score that chooses, then the others."""
    return sorted(found.points[0].scores, key=lambda name: name != found.chooser)


def _places(found: BestOfN) -> list[tuple[float, int]]:
    """Return the temperature and N of each point."""
    return [(point.temperature or 0.0, point.n) for point in found.points]


def _title(found: BestOfN, name: str) -> str:
    return f"{name} of the best" if name == found.chooser else f"{name} of the best by {found.chooser}"


def _label(name: str, system: System) -> str:
    return system.spec.scores.get(_NAMES_IN_RUNS.get(name, name), name)
