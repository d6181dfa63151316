"""One look for all pictures."""

from contextlib import AbstractContextManager
from typing import Any

import matplotlib as mpl

# Okabe and Ito's palette, colour-blind safe, without yellow, which is too faint on white.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
FAINT = "#8a8f94"  # lines that only guide the eye
SOFT = "#50565c"  # secondary text

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
    "axes.edgecolor": FAINT,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "grid.color": "#e6e8ea",
    "grid.linewidth": 0.8,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "legend.frameon": False,
    "legend.fontsize": 10.0,
    "legend.handlelength": 1.6,
    "legend.columnspacing": 1.4,
    "lines.solid_capstyle": "round",
    "text.parse_math": False,  # labels and tokens may hold dollar signs
    "svg.hashsalt": "lightning_marlhf",  # the same picture gives the same bytes
    "svg.fonttype": "path",
}


def in_style() -> AbstractContextManager[None]:
    """Return the context under which every picture is made."""
    return mpl.rc_context(RC)
