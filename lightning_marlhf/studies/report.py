"""The report that ends a plan, and its first table for the terminal."""

import re

from rich.console import Console

from lightning_marlhf.studies.plan import Plan


def write_report(plan: Plan, console: Console) -> None:
    """Write the report and show its first table."""
    folder = plan.report_folder
    if plan.rows:
        from lightning_marlhf.reporting.paper import build_paper_report

        rows = [vars(row) for row in plan.rows]
        text = build_paper_report(
            title=plan.title,
            rows=rows,
            shows=plan.shows,
            output=plan.output,
            folder=folder,
            seeds=plan.seeds,
        )
    elif plan.report:
        from lightning_marlhf.reporting.report import build_report

        text = build_report(
            title=plan.title, report=plan.report, output=plan.output, seeds=plan.seeds
        )
    else:
        return
    console.print(first_table(text), soft_wrap=True, markup=False)
    console.print(
        f"report: {folder / 'report.md'}, {folder / 'report.html'}", soft_wrap=True, markup=False
    )


def first_table(markdown: str) -> str:
    """Cut the first table out of a Markdown text, columns aligned and escapes undone."""
    rows: list[list[str]] = []
    for line in markdown.splitlines():
        if line.startswith("|"):
            cells = re.split(r"(?<!\\)\|", line.strip()[1:-1])
            rows.append(
                [re.sub(r"\\(.)", r"\1", cell).replace("&amp;", "&").strip() for cell in cells]
            )
        elif rows:
            break
    kept = [row for row in rows if not all(set(cell) <= set("-: ") for cell in row)]
    if not kept:
        return ""
    widths = [max(len(row[i]) for row in kept if i < len(row)) for i in range(len(kept[0]))]
    lines = [
        "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=False)).rstrip()
        for row in kept
    ]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])
