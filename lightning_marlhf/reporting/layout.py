"""Shared layout of report sections: tables with the paper's numbers, figure style, one colour per row."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from io import BytesIO

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lightning_marlhf.display.document import Block, Cell, Note, Picture, Pictures, Table, Text
from lightning_marlhf.display.style import COLORS
from lightning_marlhf.display.text import MISSING, number
from lightning_marlhf.reporting.load import System
from lightning_marlhf.reporting.spec import SystemReport

NOT_FOUND = "not found"
INTERVALS = (
    "In brackets: the paper's numbers with our confidence in them, ours with 95 % intervals (Student t) over seeds, or"
    " over held-out prompts for one seed."
)
UPDATES = "Policy updates (optimizer steps)"
SIZE = (5.8, 4.1)  # inches; of a picture with one panel
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_LINES = ("-", "--", ":")  # the next line style when the colours repeat
_BASELINE_COLOR = "#6b6b6b"
_DPI = 140
_LEGEND_CHARACTERS = 72  # of labels that fit side by side below a picture of `SIZE`
Line = tuple[System, dict[str, Cell]]  # title of a column -> cell


def make_table(lines: Sequence[Line], caption: str, *, num_left: int = 1, name: str = "") -> Table | None:
    """Return lines as a table, each below its system's label if systems have one; None if there are no lines.

    Columns without any text are left out, such as those of the paper's numbers if it has none of the systems.

    Args:
        lines: A line need not have every column; its cell is a dash, then.
        caption: Below the table.
        num_left: How many of the lines' columns are text.
        name: The table is saved as ``report/<name>.tex``.
    """
    if not lines:
        return None
    titles = dict.fromkeys(title for _, line in lines for title in line)
    header = [t for t in titles if any(line.get(t, Cell("")).value for _, line in lines)]
    rows = [[line.get(title, Cell(MISSING)) for title in header] for _, line in lines]
    if any(system.spec.label for system, _ in lines):
        header, num_left = ["System", *header], num_left + 1
        rows = [[Cell(s.spec.label), *row] for (s, _), row in zip(lines, rows, strict=True)]
    return Table(tuple(header), tuple(map(tuple, rows)), caption, num_left=num_left, name=name)


def paper_cell(system: System, measure: str, run: str, *, decimals: int, unit: str = "") -> Cell:
    """Return the paper's value; "not found" if no source is known, empty if it has no such system."""
    if system.spec.reported is None:
        return Cell("")
    found = system.spec.reported.get(measure, {}).get(run)
    if found is None:
        return Cell(NOT_FOUND)
    values = found.value if isinstance(found.value, Sequence) else [found.value]
    return Cell(f"{' to '.join(number(v, decimals) for v in values)}{unit}", f"({found.confidence})")


def paper_value(system: System, measure: str, run: str) -> float | None:
    """Return the paper's number, if it is one and not a range."""
    found = (system.spec.reported or {}).get(measure, {}).get(run)
    return None if found is None or isinstance(found.value, Sequence) else float(found.value)


def pictures_of_each(
    systems: Sequence[System], make: Callable[[System], Sequence[Picture]], *, caption: str, missing: str
) -> list[Block]:
    """Return each system's pictures, named after it; or a note that says what is missing.

    Args:
        systems: With their runs.
        make: Draws the pictures of one system; none if it has nothing to show.
        caption: Caption of the figures; shown once above all of them if systems have labels.
        missing: Why a system has no pictures.
    """
    found: list[Block] = []
    for system in systems:
        pictures, label = tuple(make(system)), system.spec.label
        if not pictures:
            found.append(Note(f"{label}: {missing}" if label else missing))
        elif label:
            named = (replace(each, name=f"{each.name}-{system.spec.name}") for each in pictures)
            found.append(Pictures(tuple(named), f"{label}."))
        else:
            found.append(Pictures(pictures, caption))
    several = any(isinstance(each, Pictures) for each in found) and systems[0].spec.label
    return [Text(caption), *found] if several else found


@dataclass(frozen=True)
class RowStyle:
    """How one row looks in every picture."""

    label: str
    color: str
    line: str
    marker: str


def row_styles(spec: SystemReport) -> dict[str, RowStyle]:
    """Return the look of each stage: the baseline grey, the reference run first in the palette."""
    order = sorted(spec.trained_rows, key=lambda row: row.stage != spec.reference_run)
    styles = {row.stage: nth_style(n, row.label) for n, row in enumerate(order)}
    if spec.baseline is not None:
        styles[spec.baseline] = RowStyle(spec.label_of(spec.baseline), _BASELINE_COLOR, "--", "o")
    return {row.stage: styles[row.stage] for row in spec.rows}


def nth_style(n: int, label: str) -> RowStyle:
    """Return the look of the n-th row of a picture, from 0."""
    return RowStyle(
        label=label,
        color=COLORS[n % len(COLORS)],
        line=_LINES[n // len(COLORS) % len(_LINES)],
        marker=_MARKERS[n % len(_MARKERS)],
    )


def to_picture(figure: Figure, *, name: str, alt: str, wide: bool = False) -> Picture:
    """Draw the figure as PNG and SVG, the same bytes each time. Call it under ``in_style``."""
    png, svg = BytesIO(), BytesIO()
    figure.savefig(png, format="png", dpi=_DPI, metadata={"Software": None})
    figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": None})
    return Picture(name, alt, png.getvalue(), svg.getvalue(), wide)


def add_legend(figure: Figure, *panels: Axes) -> None:
    """Name the rows below the figure, each once."""
    handles, labels = legend_entries(panels)
    if not labels:
        return
    width = _LEGEND_CHARACTERS * figure.get_figwidth() / SIZE[0]
    ncols = max(1, min(len(labels), int(width // (max(map(len, labels)) + 4))))
    figure.legend(handles, labels, loc="outside lower left", ncols=ncols)


def legend_entries(panels: Iterable[Axes]) -> tuple[list[Artist], list[str]]:
    """Return the handles and labels of all panels, each label once."""
    entries: dict[str, Artist] = {}
    for axes in panels:
        handles, labels = axes.get_legend_handles_labels()
        entries |= {label: h for h, label in zip(handles, labels, strict=True)}
    return list(entries.values()), list(entries)
