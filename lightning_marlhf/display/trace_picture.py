"""Draw one response cut into macro actions, with each token's advantage, value and KL below it."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby

from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ft2font import FT2Font
from matplotlib.patches import Rectangle

from lightning_marlhf.display.style import COLORS, FAINT, SOFT
from lightning_marlhf.display.text import VISIBLE
from lightning_marlhf.records import TokenTrace

FONT = "DejaVu Sans Mono"
_UNKNOWN = "□"
_LINE_UNITS = 46  # characters in a line of the picture
_MAX_LINES = 5
ADVANTAGE, VALUE, KL = "Advantage", "Value", "KL (nats)"
_WIDTH_IN = 9.0
_TOKENS_IN, _PANEL_IN, _GAP_IN = 0.3, 0.62, 0.12
_TITLE_IN = 0.62
_TINTS = (0.12, 0.34)  # opacity of even and odd macro actions


@dataclass(frozen=True)
class Placed:
    """One token in the picture."""

    position: int  # index in the response
    text: str
    left: float  # in characters from the line's start
    width: float


def draw_trace(trace: TokenTrace, *, title: str, facts: Sequence[str], color: str = COLORS[0]) -> Figure:
    """Draw the response in lines of tokens, and under each line its advantages, values and KL.

    A response that is too long is cut, and the picture says so. Call it under ``in_style``.

    Args:
        trace: record of a response of one token or more.
        title: title of the picture.
        facts: scores and lengths, shown below the title.
        color: color of the macro actions, which have two tints in turn.
    """
    lines = place_tokens(trace.tokens)
    heights = [_TOKENS_IN, *[_PANEL_IN] * 3, _GAP_IN] * len(lines)
    figure = Figure(figsize=(_WIDTH_IN, sum(heights) + 0.85))
    height = figure.get_figheight()
    grid = figure.add_gridspec(
        len(heights), 1, height_ratios=heights, hspace=0.16, left=0.09, right=0.99,
        top=1 - _TITLE_IN / height, bottom=0.02 / height,
    )  # fmt: skip
    for row, line in enumerate(lines):
        tokens, *panels = (figure.add_subplot(grid[5 * row + panel]) for panel in range(4))
        _draw_tokens(tokens, trace, line, color)
        _draw_advantages(panels[0], trace, line, color)
        _draw_values(panels[1], trace, line, color)
        _draw_kl(panels[2], trace, line, color)
    _share_limits(figure, width=max(cell.left + cell.width for line in lines for cell in line))
    shown = sum(map(len, lines))
    cut = [] if shown == len(trace.tokens) else [f"the first {shown} of {len(trace.tokens)} tokens"]
    figure.text(0.012, 1 - 0.12 / height, title, va="top", weight="bold", size=11.5)
    figure.text(0.012, 1 - 0.35 / height, "   ".join([*facts, *cut]), va="top", size=9, color=SOFT)
    return figure


def macro_spans(trace: TokenTrace, line: Sequence[Placed]) -> list[tuple[int, list[Placed]]]:
    """Return the macro actions of a line with their tokens there."""
    groups = groupby(line, key=lambda cell: trace.macro_index[cell.position])
    return [(index, list(group)) for index, group in groups]


def _draw_tokens(axes: Axes, trace: TokenTrace, line: Sequence[Placed], color: str) -> None:
    axes.set_ylim(0, 1)
    axes.set_axis_off()
    for index, tokens in macro_spans(trace, line):
        left, width = tokens[0].left, sum(cell.width for cell in tokens)
        tint = _TINTS[index % 2]
        axes.add_patch(Rectangle((left, 0), width, 1, color=color, alpha=tint, linewidth=0))
    for cell in line:
        for offset, character in enumerate(cell.text):
            axes.text(
                cell.left + offset + 0.5, 0.45, character, ha="center", va="center",
                family=FONT, size=12,
            )  # fmt: skip


def _draw_advantages(axes: Axes, trace: TokenTrace, line: Sequence[Placed], color: str) -> None:
    _begin_panel(axes, ADVANTAGE)
    for _, tokens in macro_spans(trace, line):
        left, width = tokens[0].left, sum(cell.width for cell in tokens)
        height = trace.advantages[tokens[0].position]
        axes.bar(left + width / 2, height, width=width - 0.12, color=color, alpha=0.75)


def _draw_values(axes: Axes, trace: TokenTrace, line: Sequence[Placed], color: str) -> None:
    _begin_panel(axes, VALUE)
    values = [trace.values[cell.position] for cell in line]
    axes.plot(_centres(line), values, color=color, marker=".", markersize=4, linewidth=1.2)


def _draw_kl(axes: Axes, trace: TokenTrace, line: Sequence[Placed], color: str) -> None:
    _begin_panel(axes, KL)
    heights = [trace.kl[cell.position] for cell in line]
    widths = [cell.width - 0.4 for cell in line]
    axes.bar(_centres(line), heights, width=widths, color=color, alpha=0.75)


def _begin_panel(axes: Axes, label: str) -> None:
    axes.set_ylabel(label, fontsize=8)
    axes.axhline(0, color=FAINT, linewidth=0.8)


def _centres(line: Sequence[Placed]) -> list[float]:
    return [cell.left + cell.width / 2 for cell in line]


def _share_limits(figure: Figure, *, width: float) -> None:
    """Give all panels the same width in characters, those of one kind the same scale; align their labels."""
    for axes in figure.axes:
        axes.set_xlim(0, width)
        axes.set_xticks([])
        axes.grid(visible=False)
        axes.spines["bottom"].set_visible(False)
    for label in (ADVANTAGE, VALUE, KL):
        panels = [axes for axes in figure.axes if axes.get_ylabel() == label]
        low = min(axes.get_ylim()[0] for axes in panels)
        high = max(axes.get_ylim()[1] for axes in panels)
        for axes in panels:
            axes.set_ylim(low, high)
            axes.tick_params(labelsize=8)
            axes.locator_params(axis="y", nbins=3)
            axes.yaxis.set_label_coords(-0.052, 0.5)


def place_tokens(tokens: Sequence[str]) -> list[list[Placed]]:
    """Lay the tokens out in as few lines as they need, about equally long; what does not fit is left out.

    Args:
        tokens: pieces of text, of one character or more.

    Returns:
        The lines; each token is as wide as its text has characters.
    """
    texts = [_shown(token) for token in tokens]
    fewest = len(_fill_lines(texts, _LINE_UNITS))
    fillings = (_fill_lines(texts, limit) for limit in range(1, _LINE_UNITS + 1))
    return next(lines for lines in fillings if len(lines) == fewest)[:_MAX_LINES]


def _fill_lines(texts: Sequence[str], limit: int) -> list[list[Placed]]:
    """Begin a line where the next token would make it longer than ``limit`` characters."""
    lines: list[list[Placed]] = [[]]
    left = 0
    for position, text in enumerate(texts):
        if lines[-1] and left + len(text) > limit:
            lines.append([])
            left = 0
        lines[-1].append(Placed(position, text, left, len(text)))
        left += len(text)
    return lines


def _shown(token: str) -> str:
    """Return a token as the picture's font can draw it, never empty and never wider than a line."""
    characters = _drawable_characters()
    shown = (VISIBLE.get(character, character) for character in token)
    text = "".join(character if ord(character) in characters else _UNKNOWN for character in shown)
    return text[:_LINE_UNITS] or _UNKNOWN


@cache
def _drawable_characters() -> frozenset[int]:
    path = font_manager.findfont(font_manager.FontProperties(family=FONT))
    return frozenset(FT2Font(path).get_charmap())
