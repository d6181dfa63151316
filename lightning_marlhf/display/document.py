"""The report as data, rendered by `display/markdown.py` and `reporting/render.py`. Texts are not escaped."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str


@dataclass(frozen=True)
class Note:
    """Something that is missing, and why."""

    text: str


@dataclass(frozen=True)
class Bullets:
    """A list of sentences."""

    items: tuple[str, ...]


@dataclass(frozen=True)
class Cell:
    """A number and, smaller, its interval or spread."""

    value: str
    detail: str = ""


@dataclass(frozen=True)
class Table:
    """A table; the first ``num_left`` columns are text, the others numbers."""

    header: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    caption: str = ""
    num_left: int = 1
    name: str = ""  # also saved as ``report/<name>.tex``; "": not saved

    def side(self, column: int) -> str:
        """Return a column's alignment: "left" or "right"."""
        return "left" if column < self.num_left else "right"


@dataclass(frozen=True)
class Picture:
    """A picture saved as ``<name>.png`` and ``.svg``."""

    name: str
    alt: str
    png: bytes
    svg: bytes
    wide: bool = False  # True: not shrunk below reading size on a phone, but scrolled


@dataclass(frozen=True)
class Pictures:
    """Pictures side by side if there is room, with one caption."""

    pictures: tuple[Picture, ...]
    caption: str
    folder: str = "report/"  # where they are saved, as seen from the Markdown file


@dataclass(frozen=True)
class Response:
    """One row's response to a sample's prompt."""

    label: str
    text: str
    facts: str  # its scores


@dataclass(frozen=True)
class Sample:
    """One prompt with several responses."""

    title: str
    prompt: str
    reference: str | None
    responses: tuple[Response, ...]


Block = Text | Note | Bullets | Table | Pictures | Sample


@dataclass(frozen=True)
class Section:
    """A section: title and content."""

    title: str  # empty: no headline
    blocks: tuple[Block, ...]


def cells(*texts: str) -> tuple[Cell, ...]:
    """Return a table row of plain texts."""
    return tuple(Cell(text) for text in texts)
