"""Blocks -> Markdown. Every text is escaped or fenced: responses are untrusted."""

import re
from collections.abc import Sequence
from functools import singledispatch

from lightning_marlhf.display.document import Block, Bullets, Cell, Note, Pictures, Sample, Section, Table, Text
from lightning_marlhf.display.text import printable

_SPECIAL = re.compile(r"([\\`*_\[\]<>|~$#])")


def render_markdown(title: str, sections: Sequence[Section]) -> str:
    """Return the report as one Markdown text; pictures are links into their folder."""
    parts = [f"# {escape(title)}"]
    for section in sections:
        parts += [f"## {escape(section.title)}"] if section.title else []
        parts.extend(_render(block) for block in section.blocks)
    return "\n\n".join(parts) + "\n"


def escape(text: str) -> str:
    """Return ``text`` on one line, with the special characters of Markdown and HTML escaped."""
    line = " ".join(printable(text).split())
    return _SPECIAL.sub(r"\\\1", line.replace("&", "&amp;"))


def fenced(text: str) -> str:
    """Return ``text`` in a code block whose fence is longer than any run of backticks in it."""
    text = printable(text)
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{text}\n{fence}"


@singledispatch
def _render(block: Block) -> str:
    raise TypeError(f"expected a block, got {type(block).__name__}")


@_render.register
def _(block: Text) -> str:
    return escape(block.text)


@_render.register
def _(block: Note) -> str:
    return f"> **Note:** {escape(block.text)}"


@_render.register
def _(block: Bullets) -> str:
    return "\n".join(f"- {escape(item)}" for item in block.items)


@_render.register
def _(block: Table) -> str:
    num_right = len(block.header) - block.num_left
    lines = [
        [escape(text) for text in block.header],
        [":--"] * block.num_left + ["--:"] * num_right,
        *([_cell(cell) for cell in row] for row in block.rows),
    ]
    table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    return f"{table}\n\n{escape(block.caption)}" if block.caption else table


def _cell(cell: Cell) -> str:
    return escape(f"{cell.value} {cell.detail}".strip())


@_render.register
def _(block: Pictures) -> str:
    images = [_image(f"{block.folder}{p.name}", p.alt, p.wide or len(block.pictures) == 1) for p in block.pictures]
    return "\n".join(images) + f"\n\n{escape(block.caption)}"


def _image(name: str, alt: str, wide: bool) -> str:
    alt = escape(alt).replace('"', "&quot;")
    width = "" if wide else ' width="49%"'
    return f'<img src="{name}.png" alt="{alt}"{width}>'


@_render.register
def _(block: Sample) -> str:
    parts = [f"### {escape(block.title)}", fenced(block.prompt)]
    if block.reference is not None:
        parts += ["**Reference**", fenced(block.reference)]
    for response in block.responses:
        parts += [f"**{escape(response.label)}** ({escape(response.facts)})", fenced(response.text)]
    return "\n\n".join(parts)
