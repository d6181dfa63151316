"""How the rows of a report look: one colour per row in every figure."""

import re
from dataclasses import dataclass
from io import BytesIO

from matplotlib.figure import Figure

from lightning_marlhf.display.blocks import Picture
from lightning_marlhf.display.style import COLORS
from lightning_marlhf.display.style import (
    in_style as in_style,
)  # where pictures are made, both are needed
from lightning_marlhf.reporting.old_spec import ReportSpec

_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_LINES = ("-", "--", ":")  # the next line style where the colours begin again
_BASELINE_COLOR = "#6b6b6b"
_DPI = 140


@dataclass(frozen=True)
class RowStyle:
    """How one row looks in every picture."""

    label: str
    color: str
    line: str
    marker: str


def row_styles(spec: ReportSpec) -> dict[str, RowStyle]:
    """Return the look of each stage: the baseline grey, the reference run first in the palette."""
    order = sorted(spec.trained_rows, key=lambda row: row.stage != spec.reference_run)
    styles = {row.stage: nth_style(n, row.label) for n, row in enumerate(order)}
    if spec.baseline is not None:
        styles[spec.baseline] = RowStyle(spec.label(spec.baseline), _BASELINE_COLOR, "--", "o")
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
    """Draw the figure as PNG and SVG, the same bytes each time. Call it under ``in_style``.

    The name is one of a file: what a label may hold and a file's name may not, such as a slash, becomes a dash.
    """
    png, svg = BytesIO(), BytesIO()
    figure.savefig(png, format="png", dpi=_DPI, metadata={"Software": None})
    figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": None})
    return Picture(re.sub(r"[^\w.=+-]+", "-", name), alt, png.getvalue(), svg.getvalue(), wide)
