"""Tables -> LaTeX with booktabs. Every text is escaped."""

from lightning_marlhf.display.blocks import Cell, Table
from lightning_marlhf.display.text import printable

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


def render_latex(table: Table) -> str:
    r"""Return a `table` environment; the document needs `\usepackage{booktabs}`."""
    columns = "l" * table.num_left + "r" * (len(table.header) - table.num_left)
    lines = [
        r"\begin{table}",
        r"  \centering",
        rf"  \begin{{tabular}}{{{columns}}}",
        r"    \toprule",
        f"    {_line(map(escape, table.header))}",
        r"    \midrule",
        *(f"    {_line(map(_cell, row))}" for row in table.rows),
        r"    \bottomrule",
        r"  \end{tabular}",
        *([rf"  \caption{{{escape(table.caption)}}}"] if table.caption else []),
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def escape(text: str) -> str:
    """Return ``text`` on one line, with everything that LaTeX would act on disarmed."""
    line = " ".join(printable(text).split())
    return "".join(_ESCAPES.get(character, character) for character in line)


def _cell(cell: Cell) -> str:
    detail = rf"{{\scriptsize {escape(cell.detail)}}}" if cell.detail else ""
    return f"{escape(cell.value)} {detail}".strip()


def _line(texts: "map[str]") -> str:
    return " & ".join(texts) + r" \\"
