"""One look for all pictures: colour-blind safe colours, one per row in every figure."""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from lightning_marlhf.reporting.blocks import Picture
from lightning_marlhf.reporting.spec import ReportSpec

# Okabe and Ito's palette without yellow, which is too faint on white.
_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_LINES = ("-", "--", ":")  # the next line style where the colours begin again
_BASELINE_COLOR = "#6b6b6b"
_DPI = 140

RC: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 10.5,
    "axes.titlesize": 11.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 9.0,
    "axes.labelsize": 10.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#8a8f94",
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "grid.color": "#e6e8ea",
    "grid.linewidth": 0.8,
    "xtick.color": "#50565c",
    "ytick.color": "#50565c",
    "legend.frameon": False,
    "legend.fontsize": 10.0,
    "legend.handlelength": 1.6,
    "legend.columnspacing": 1.4,
    "lines.solid_capstyle": "round",
    "text.parse_math": False,  # labels and tokens may hold dollar signs
    "svg.hashsalt": "lightning_marlhf",  # the same picture gives the same bytes
    "svg.fonttype": "path",
}


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
    styles = {
        row.stage: RowStyle(
            label=row.label,
            color=_COLORS[n % len(_COLORS)],
            line=_LINES[n // len(_COLORS) % len(_LINES)],
            marker=_MARKERS[n % len(_MARKERS)],
        )
        for n, row in enumerate(order)
    }
    if spec.baseline is not None:
        styles[spec.baseline] = RowStyle(spec.label(spec.baseline), _BASELINE_COLOR, "--", "o")
    return {row.stage: styles[row.stage] for row in spec.rows}


def to_picture(figure: Figure, *, name: str, alt: str, wide: bool = False) -> Picture:
    """Draw the figure as PNG and SVG, the same bytes each time. Call it under ``RC``."""
    png, svg = BytesIO(), BytesIO()
    figure.savefig(png, format="png", dpi=_DPI, metadata={"Software": None})
    figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": None})
    return Picture(name, alt, png.getvalue(), svg.getvalue(), wide)


def in_style() -> AbstractContextManager[None]:
    """Return the context under which every picture is made."""
    return mpl.rc_context(RC)
