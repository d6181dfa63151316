"""Blocks -> one HTML page that opens offline: pictures inside, no script, all text escaped."""

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from lightning_marlhf.display.blocks import Section
from lightning_marlhf.display.text import printable

_TEMPLATE = Path(__file__).with_name("report_page.html")


def render_html(title: str, sections: Sequence[Section]) -> str:
    """Return the whole page as one text."""
    environment = Environment(
        autoescape=True,
        finalize=_printable,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters["base64"] = lambda content: base64.b64encode(content).decode("ascii")
    template = environment.from_string(_TEMPLATE.read_text(encoding="utf-8"))
    return template.render(title=title, sections=sections)


def _printable(value: Any) -> Any:
    """Replace what steers a terminal or hides text, in everything that the page shows."""
    return printable(value) if isinstance(value, str) else value
