"""Draw one response cut into macro actions, with the critic's values and the advantages below."""

from collections.abc import Mapping, Sequence
from itertools import groupby

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from lightning_marlhf.records import TokenTrace
from lightning_marlhf.reporting.blocks import Picture
from lightning_marlhf.reporting.load import Study
from lightning_marlhf.reporting.style import RowStyle, in_style, row_styles, to_picture
from lightning_marlhf.reporting.text import number
from lightning_marlhf.reporting.traces import (
    FONT,
    KeptResponse,
    Placed,
    find_traces,
    place_tokens,
)

_WIDTH_IN = 9.0
_HEIGHTS_IN = (0.3, 0.75, 0.75, 0.1)  # tokens, advantages, values, gap
_TINTS = (0.12, 0.34)  # opacity of even and odd macro actions


def trace_pictures(study: Study) -> tuple[Picture, ...]:
    """Return a picture of one response for each trained row that has kept one."""
    styles = row_styles(study.spec)
    pictures = []
    for stage, kept in find_traces(study).items():
        with in_style():
            figure = draw_trace(kept, styles[stage], study.spec.scores)
            alt = f"A response of {styles[stage].label} cut into macro actions"
            pictures.append(to_picture(figure, name=f"trace-{stage}", alt=alt, wide=True))
    return tuple(pictures)


def draw_trace(kept: KeptResponse, style: RowStyle, scores: Mapping[str, str]) -> Figure:
    """Draw the response in lines of tokens; under each line its advantages and values."""
    trace, lines = kept.trace, place_tokens(kept.trace.tokens)
    heights = [height for _ in lines for height in _HEIGHTS_IN][:-1]
    figure = Figure(figsize=(_WIDTH_IN, sum(heights) + 0.85))
    top = 1 - 0.62 / figure.get_figheight()
    grid = figure.add_gridspec(
        len(heights), 1, height_ratios=heights, hspace=0.16, left=0.09, right=0.99, top=top,
        bottom=0.12 / figure.get_figheight(),
    )  # fmt: skip
    for number_, line in enumerate(lines):
        panels = [figure.add_subplot(grid[4 * number_ + n]) for n in range(3)]
        _draw_tokens(panels[0], trace, line, style)
        _draw_advantages(panels[1], trace, line, style)
        _draw_values(panels[2], trace, line, style)
        for axes in panels:
            axes.set_xlim(0, max(cell.left + cell.width for row in lines for cell in row))
            axes.set_xticks([])
            axes.grid(visible=False)
            axes.spines["bottom"].set_visible(False)
    _share_limits(figure)
    _title(figure, kept, style, scores)
    return figure


def _title(figure: Figure, kept: KeptResponse, style: RowStyle, scores: Mapping[str, str]) -> None:
    completion, trace = kept.completion, kept.trace
    num_macro = len(set(trace.macro_index))
    facts = [f"{label} {number(completion.scores.get(key), 2)}" for key, label in scores.items()]
    facts += [
        f"KL {number(completion.kl, 2)} nats",
        f"{len(trace.tokens)} tokens",
        f"update {completion.step}",
        f"seed {kept.run.seed}",
    ]
    height = figure.get_figheight()
    title = f"{style.label}: one response in {num_macro} macro actions"
    figure.text(0.012, 1 - 0.12 / height, title, va="top", weight="bold", size=11.5)
    figure.text(0.012, 1 - 0.35 / height, "   ".join(facts), va="top", size=9, color="#50565c")


def _macro_spans(trace: TokenTrace, line: Sequence[Placed]) -> list[tuple[int, list[Placed]]]:
    """Return the macro actions of a line with their tokens there."""
    groups = groupby(line, key=lambda cell: trace.macro_index[cell.position])
    return [(index, list(group)) for index, group in groups]


def _draw_tokens(axes: Axes, trace: TokenTrace, line: Sequence[Placed], style: RowStyle) -> None:
    axes.set_ylim(0, 1)
    axes.set_axis_off()
    for index, tokens in _macro_spans(trace, line):
        left, width = tokens[0].left, sum(cell.width for cell in tokens)
        tint = _TINTS[index % 2]
        axes.add_patch(Rectangle((left, 0), width, 1, color=style.color, alpha=tint, linewidth=0))
    for cell in line:
        for offset, character in enumerate(cell.text):
            axes.text(
                cell.left + offset + 0.5, 0.45, character, ha="center", va="center",
                family=FONT, size=12,
            )  # fmt: skip


def _draw_advantages(
    axes: Axes, trace: TokenTrace, line: Sequence[Placed], style: RowStyle
) -> None:
    axes.set_ylabel("Advantage", fontsize=8.5)
    axes.axhline(0, color="#8a8f94", linewidth=0.8)
    for _, tokens in _macro_spans(trace, line):
        left, width = tokens[0].left, sum(cell.width for cell in tokens)
        height = trace.advantages[tokens[0].position]
        axes.bar(left + width / 2, height, width=width - 0.12, color=style.color, alpha=0.75)


def _draw_values(axes: Axes, trace: TokenTrace, line: Sequence[Placed], style: RowStyle) -> None:
    axes.set_ylabel("Value", fontsize=8.5)
    axes.axhline(0, color="#8a8f94", linewidth=0.8)
    centres = [cell.left + cell.width / 2 for cell in line]
    values = [trace.values[cell.position] for cell in line]
    axes.plot(centres, values, color=style.color, marker=".", markersize=4, linewidth=1.2)


def _share_limits(figure: Figure) -> None:
    """Give the panels of one kind the same scale, and align their labels."""
    for label in ("Advantage", "Value"):
        panels = [axes for axes in figure.axes if axes.get_ylabel() == label]
        low = min(axes.get_ylim()[0] for axes in panels)
        high = max(axes.get_ylim()[1] for axes in panels)
        for axes in panels:
            axes.set_ylim(low, high)
            axes.tick_params(labelsize=8)
            axes.locator_params(axis="y", nbins=3)
            axes.yaxis.set_label_coords(-0.052, 0.5)
