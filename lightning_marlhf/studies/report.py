"""The report that ends a plan, and its first table for the terminal."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console

from lightning_marlhf.reporting.spec import (
    DEFAULT_SECTIONS,
    SMOKE_RUN,
    ReportedNumber,
    ReportRow,
    ReportSpec,
    SystemReport,
)
from lightning_marlhf.studies.plan import Plan
from lightning_marlhf.studies.systems import Row


def write_report(plan: Plan, console: Console, *, quick: bool = False) -> None:
    """Write the report and show its first table."""
    if plan.rows:
        systems = [_of_row(row) for row in plan.rows]
    elif plan.report:
        systems = [system_report(plan.report)]
    else:
        return
    from lightning_marlhf.reporting.report import build_report

    spec = ReportSpec(
        systems=systems,
        sections=plan.shows or DEFAULT_SECTIONS,
        note=SMOKE_RUN if quick else "",
    )
    folder = plan.report_folder
    report = build_report(
        spec, title=plan.title, output=plan.output, seeds=plan.seeds, folder=folder
    )
    for line in (
        *report.terminal_lines(),
        f"report: {folder / 'report.md'}, {folder / 'report.html'}",
    ):
        console.print(line, soft_wrap=True, markup=False)


def system_report(report: Mapping[str, Any]) -> SystemReport:
    """Read a plan's `report:` section."""
    return SystemReport(**{**report, "rows": [ReportRow(**row) for row in report["rows"]]})


def _of_row(row: Row) -> SystemReport:
    rows = [ReportRow(stage=stage, label=label) for stage, label in row.runs.items()]
    settings = {
        key: value
        for key, value in row.report.items()
        if key not in ("baseline", "reference_run") or value in row.runs
    }
    reported = None
    if row.reported is not None:
        reported = {
            measure: {run: ReportedNumber(**number) for run, number in numbers.items()}
            for measure, numbers in row.reported.items()
        }
    return SystemReport(
        **settings,
        rows=rows,
        name=row.system,
        label=row.label,
        evaluations=row.evaluations,
        reported=reported,
    )
