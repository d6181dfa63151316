"""What sections have in common: tables over several systems, the paper's numbers, pictures of each system."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from lightning_marlhf.display.blocks import Block, Cell, Note, Picture, Pictures, Table, Text
from lightning_marlhf.display.text import MISSING, number
from lightning_marlhf.reporting.load import System

NOT_FOUND = "not found"
INTERVALS = (
    "In brackets: the paper's numbers with our confidence in them, ours with 95 % intervals (Student t) over seeds, or"
    " over held-out prompts where there is one seed."
)
Line = tuple[System, dict[str, Cell]]  # title of a column -> cell


def make_table(
    lines: Sequence[Line], caption: str, *, num_left: int = 1, name: str = ""
) -> Table | None:
    """Return lines as a table, each below its system's label where systems have one; None where there are no lines.

    Args:
        lines: A line need not have every column; its cell is a dash, then.
        caption: Below the table.
        num_left: How many of the lines' columns are text.
        name: The table is saved as ``report/<name>.tex``.
    """
    header = tuple(dict.fromkeys(title for _, line in lines for title in line))
    rows = [tuple(line.get(title, Cell(MISSING)) for title in header) for _, line in lines]
    if not rows:
        return None
    if any(system.spec.label for system, _ in lines):
        labels = [Cell(system.spec.label) for system, _ in lines]
        rows = [(label, *row) for label, row in zip(labels, rows, strict=True)]
        header, num_left = ("System", *header), num_left + 1
    return Table(header, tuple(rows), caption, num_left=num_left, name=name)


def has_paper(systems: Sequence[System]) -> bool:
    """Tell whether the paper has one of the systems, so that its numbers have columns."""
    return any(system.spec.reported is not None for system in systems)


def paper_cell(system: System, measure: str, run: str, *, decimals: int, unit: str = "") -> Cell:
    """Return what the paper reports; "not found" where we know no source, a dash where it has no such system."""
    if system.spec.reported is None:
        return Cell(MISSING)
    found = system.spec.reported.get(measure, {}).get(run)
    if found is None:
        return Cell(NOT_FOUND)
    values = found.value if isinstance(found.value, Sequence) else [found.value]
    return Cell(
        f"{' to '.join(number(v, decimals) for v in values)}{unit}", f"({found.confidence})"
    )


def paper_value(system: System, measure: str, run: str) -> float | None:
    """Return the paper's number, where it is one and not a range."""
    found = (system.spec.reported or {}).get(measure, {}).get(run)
    return None if found is None or isinstance(found.value, Sequence) else float(found.value)


def pictures_of_each(
    systems: Sequence[System],
    make: Callable[[System], Sequence[Picture]],
    *,
    caption: str,
    missing: str,
) -> list[Block]:
    """Return each system's pictures, named after it; or a note that says what is missing.

    Args:
        systems: With their runs.
        make: Draws the pictures of one system; none where it has nothing to show.
        caption: Of the pictures; stands once, above them all, where systems have labels.
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
