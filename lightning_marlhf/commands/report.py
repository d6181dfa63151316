"""`report RUN ...`: any runs side by side: curves, tables, samples, in one HTML file that opens offline."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lightning_marlhf.commands import errors
from lightning_marlhf.config.options import positional, read_options
from lightning_marlhf.config.yaml_files import ConfigError
from lightning_marlhf.display.text import printable, short_labels


@dataclass(frozen=True, kw_only=True)
class ReportOptions:
    """Compare runs: results on held-out prompts, training curves with bands over seeds, samples.

    All are compared with the first. Of runs that were never tested, the report shows what they have logged.

    Args:
        runs: Folder of a run, e.g. runs/x or runs/x/seed-1, or one with seed-* folders below; seeds of one run are one
            row.
        label: Name of a row, in their order; once for each (default: the parts in which the paths differ).
        title: Headline of the report.
        out: Folder for report.{html,md} and report/.
    """

    runs: list[Path] = positional(many=True)
    label: list[str] = field(default_factory=list)
    title: str = "Runs side by side"
    out: Path = Path("runs/report")


def main(arguments: Sequence[str]) -> int:
    """Compare runs; see `report --help`."""
    return errors.call(lambda: _run(read_options(ReportOptions, arguments[1:], command="report")))


def _run(options: ReportOptions) -> int:
    if not options.runs:
        raise ConfigError("runs: expected the folder of at least one run")
    from lightning_marlhf.reporting.runs import find_runs, report_runs

    found = find_runs(options.runs)
    labels = options.label or list(short_labels([str(row) for row in found]).values())
    if len(labels) != len(found) or len(set(labels)) < len(labels):
        named = ", ".join(map(str, found))
        raise ValueError(f"--label: expected {len(found)} different names, for {named}; got {', '.join(labels)}")
    if options.out.exists() and not options.out.is_dir():
        raise ValueError(f"--out {options.out}: expected a folder")
    rows = dict(zip(labels, found.values(), strict=True))
    report = report_runs(rows, title=options.title, folder=options.out, shown_from=Path())
    written = f"report: {options.out / 'report.html'}, {options.out / 'report.md'}"
    for line in (*report.terminal_lines(), written):
        sys.stdout.write(f"{printable(line)}\n")
    return 0
