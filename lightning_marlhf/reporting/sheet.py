"""A table with its picture, as one command leaves it: Markdown, PNG and SVG side by side."""

from pathlib import Path

from lightning_marlhf.display.blocks import Pictures, Section, Table
from lightning_marlhf.display.markdown import render_markdown
from lightning_marlhf.files import write_text


def write_table_and_figure(
    folder: Path, name: str, *, title: str, table: Table, pictures: Pictures
) -> None:
    """Write ``name.md`` and the pictures into ``folder``."""
    for picture in pictures.pictures:
        (folder / f"{picture.name}.png").write_bytes(picture.png)
        (folder / f"{picture.name}.svg").write_bytes(picture.svg)
    section = Section("Results", (table, pictures))
    write_text(folder / f"{name}.md", render_markdown(title, [section]))
