"""Blocks -> one HTML page that opens offline, and LaTeX tables with booktabs. All text is escaped."""

import base64
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from lightning_marlhf.display.document import Cell, Section, Table
from lightning_marlhf.display.text import printable

_TEMPLATE = Path(__file__).with_name("report_page.html")
_ESCAPES = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "_": r"\_",
    "%": r"\%",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "±": r"$\pm$",
    "∞": r"$\infty$",
    "κ": r"$\kappa$",
    "–": "--",  # noqa: RUF001
}


def render_html(title: str, sections: Sequence[Section]) -> str:
    """Render the page as one string."""
    environment = Environment(
        autoescape=True, finalize=_printable, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined
    )
    environment.filters["base64"] = lambda content: base64.b64encode(content).decode("ascii")
    template = environment.from_string(_TEMPLATE.read_text(encoding="utf-8"))
    return template.render(title=title, sections=sections)


def _printable(value: Any) -> Any:
    """Replace control and invisible characters in everything that the page shows."""
    return printable(value) if isinstance(value, str) else value


def render_latex(table: Table) -> str:
    r"""Return a `table` environment; the document needs `\usepackage{booktabs}`."""
    columns = "l" * table.num_left + "r" * (len(table.header) - table.num_left)
    lines = [
        r"\begin{table}",
        r"  \centering",
        rf"  \begin{{tabular}}{{{columns}}}",
        r"    \toprule",
        f"    {_line(map(escape_latex, table.header))}",
        r"    \midrule",
        *(f"    {_line(map(_cell, row))}" for row in table.rows),
        r"    \bottomrule",
        r"  \end{tabular}",
        *([rf"  \caption{{{escape_latex(table.caption)}}}"] if table.caption else []),
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def escape_latex(text: str) -> str:
    """Return ``text`` on one line, with LaTeX's special characters escaped."""
    line = " ".join(printable(text).split())
    return "".join(_ESCAPES.get(character, character) for character in line)


def _cell(cell: Cell) -> str:
    detail = rf"{{\scriptsize {escape_latex(cell.detail)}}}" if cell.detail else ""
    return f"{escape_latex(cell.value)} {detail}".strip()


def _line(texts: Iterable[str]) -> str:
    return " & ".join(texts) + r" \\"
