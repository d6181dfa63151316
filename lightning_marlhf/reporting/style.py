"""The look of a report's pictures: one colour per row in every figure, and legends below the panels."""

from collections.abc import Iterable
from dataclasses import dataclass
from io import BytesIO

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lightning_marlhf.display.blocks import Picture
from lightning_marlhf.display.style import COLORS
from lightning_marlhf.display.style import in_style as in_style  # stands beside these everywhere
from lightning_marlhf.reporting.spec import SystemReport

UPDATES = "Policy updates (optimizer steps)"
SIZE = (5.8, 4.1)  # inches; of a picture with one panel
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_LINES = ("-", "--", ":")  # the next line style where the colours begin again
_BASELINE_COLOR = "#6b6b6b"
_DPI = 140
_LEGEND_CHARACTERS = 72  # of labels that fit side by side below a picture of `SIZE`


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
