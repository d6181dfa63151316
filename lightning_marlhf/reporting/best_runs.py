"""Best-of-N of several runs side by side: against N, temperature by temperature."""

from collections.abc import Callable, Iterable, Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from lightning_marlhf.display.blocks import Block, Cell, Note, Picture, Pictures, Table
from lightning_marlhf.records import BestOfN, BestOfNPoint
from lightning_marlhf.reporting.evaluations import read_results
from lightning_marlhf.reporting.plots import add_legend
from lightning_marlhf.reporting.statistics import Estimate, t_interval
from lightning_marlhf.reporting.style import in_style, nth_style, to_picture
from lightning_marlhf.reporting.systems import System
from lightning_marlhf.reporting.text import with_interval

RESULTS = "best_of_n.json"
_PANEL = (3.4, 3.4)
_AS_A_MONITOR = {"held_out": "rm_heldout"}  # what best-of-n calls a scorer -> what runs call it
Results = Mapping[str, Sequence[BestOfN]]  # label of a run -> one for each seed


def blocks(systems: Sequence[System]) -> list[Block]:
    """Return a table, and a picture for each system."""
    found = {system.name: _results(system) for system in systems}
    if not any(found.values()):
        return [Note("No pool of answers has been scored yet.")]
    pictures = [
        Pictures(
            (_picture(found[system.name], system),),
            f"{system.label}. The best of N answers is chosen by the reward model of training; a panel for each"
            " temperature and scorer. Bands: lowest to highest seed; 95 % over prompts where there is one seed.",
        )
        for system in systems
        if found[system.name]
    ]
    return [_table(systems, found), *pictures]


def _results(system: System) -> Results:
    return {
        system.study.spec.label(stage.removeprefix("best_of_n_")): list(
            map(BestOfN.from_dict, results)
        )
        for stage, results in read_results(system, RESULTS).items()
    }


def _table(systems: Sequence[System], found: Mapping[str, Results]) -> Table:
    names = _scorers([results for each in found.values() for results in each.values()])
    rows = [
        (
            *(Cell(text) for text in (system.label, label, f"{temperature:g}", str(n))),
            system.paper("best_of_n", f"{label}/{temperature:g}/{n}", decimals=2),
            *(with_interval(_estimate(results, temperature, n, name), 2) for name in names),
            Cell(str(len(results))),
        )
        for system in systems
        for label, results in found[system.name].items()
        for temperature, n in _points(results)
    ]
    caption = (
        "Expected score of the best of N answers, unbiased, from one pool of answers to each prompt. In brackets: 95 %"
        " intervals, over seeds, or over prompts where there is one seed."
    )
    labels = (_label(name, systems[0]) for name in names)
    header = ("System", "Run", "Temperature", "N", "Paper", *labels, "Seeds")
    return Table(header, tuple(rows), caption, num_left=4, name="best_of_n")


def _scorers(results: Sequence[Sequence[BestOfN]]) -> list[str]:
    first = results[0][0]
    return sorted(first.points[0].scores, key=lambda name: name != first.chooser)


def _label(name: str, system: System) -> str:
    return system.study.spec.scores.get(_AS_A_MONITOR.get(name, name), name)


def _points(results: Sequence[BestOfN]) -> list[tuple[float, int]]:
    return [(point.temperature or 0.0, point.n) for point in results[0].points]


def _estimate(results: Sequence[BestOfN], temperature: float, n: int, name: str) -> Estimate:
    """Return a point over seeds; of one seed with its interval over prompts."""
    found = [_point(each, temperature, n).scores[name] for each in results]
    if len(found) == 1 and found[0].low is not None and found[0].high is not None:
        return Estimate(found[0].mean, found[0].low, found[0].high, float("nan"), 1)
    return t_interval([score.mean for score in found])


def _point(result: BestOfN, temperature: float, n: int) -> BestOfNPoint:
    return next(p for p in result.points if (p.temperature or 0.0, p.n) == (temperature, n))


def _picture(found: Results, system: System) -> Picture:
    names = _scorers(list(found.values()))
    points = _points(next(iter(found.values())))
    temperatures = sorted({temperature for temperature, _ in points})
    with in_style():
        size = (_PANEL[0] * max(2, len(temperatures)), _PANEL[1] * len(names))
        figure = Figure(figsize=size, layout="constrained")
        panels = figure.subplots(
            len(names), len(temperatures), squeeze=False, sharex=True, sharey="row"
        )
        for name, line in zip(names, panels, strict=True):
            line[0].set_ylabel(f"{_label(name, system)} of the best")
            for temperature, axes in zip(temperatures, line, strict=True):
                ns = [n for at, n in points if at == temperature]
                _draw(axes, found, name, temperature=temperature, ns=ns)
        for temperature, top, bottom in zip(temperatures, panels[0], panels[-1], strict=True):
            top.set_title(f"Temperature {temperature:g}")
            bottom.set_xlabel("N answers to choose from")
        add_legend(figure, *panels.flatten())
        alt = "Scores of the best of N answers against N, a line per run"
        return to_picture(figure, name=f"best-of-n-{system.name}", alt=alt, wide=True)


def _end(
    results: Sequence[BestOfN],
    temperature: float,
    n: int,
    name: str,
    end: Callable[[Iterable[float]], float],
) -> float:
    """Return an end of the band: the lowest or highest seed, or of the interval of the only one."""
    if len(results) == 1:
        only = _estimate(results, temperature, n, name)
        return end((only.low, only.high))
    return end(_point(each, temperature, n).scores[name].mean for each in results)


def _draw(axes: Axes, found: Results, name: str, *, temperature: float, ns: Sequence[int]) -> None:
    for number, (label, results) in enumerate(found.items()):
        style = nth_style(number, label)
        values = [_estimate(results, temperature, n, name) for n in ns]
        look = {"color": style.color, "linestyle": style.line, "marker": style.marker}
        axes.plot(ns, [value.mean for value in values], label=label, **look)
        low, high = ([_end(results, temperature, n, name, end) for n in ns] for end in (min, max))
        axes.fill_between(ns, low, high, color=style.color, alpha=0.14, linewidth=0)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_locator(FixedLocator(list(ns)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticks(list(ns), list(map(str, ns)))
