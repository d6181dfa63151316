"""`report RUN ...`: any runs side by side: curves, tables, samples, in one HTML file that opens offline."""

import argparse
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from lightning_marlhf.commands import errors
from lightning_marlhf.commands.rm_score import short_labels
from lightning_marlhf.config.suggest import did_you_mean
from lightning_marlhf.display.text import printable
from lightning_marlhf.run_folder import (
    COMPLETIONS,
    CONFIG_FILE,
    DONE_FILE,
    METRICS_FILE,
    PROGRESS_FILE,
)

_OF_A_RUN = (DONE_FILE, METRICS_FILE, PROGRESS_FILE, COMPLETIONS, CONFIG_FILE)
_SEED = re.compile(r"seed-(\d+)")
_ONE_SEED = 1  # of a run whose folder names none


def main(arguments: Sequence[str]) -> int:
    """Compare runs; see `report --help`."""
    options = _parser().parse_args(arguments[1:])
    return errors.call(lambda: _run(options))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m lightning_marlhf report",
        description="Compare runs: results on held-out prompts, training curves with bands over seeds, samples. All "
        "are compared with the first.",
    )
    parser.add_argument(
        "runs",
        nargs="+",
        type=Path,
        metavar="RUN",
        help="a run's folder, e.g. runs/x or runs/x/seed-1, or one with seed-* folders below; seeds of one run are one "
        "row",
    )
    parser.add_argument(
        "--label",
        action="append",
        default=[],
        metavar="NAME",
        help="name of a row, in their order; once for each (default: where the paths differ)",
    )
    parser.add_argument("--title", default="Runs side by side")
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("runs/report"),
        metavar="FOLDER",
        help="for report.{html,md} and report/ (default runs/report)",
    )
    return parser


def _run(options: argparse.Namespace) -> int:
    rows = _labelled(gather(options.runs), options.label)
    if options.out.exists() and not options.out.is_dir():
        raise ValueError(f"--out {options.out}: expected a folder")
    from lightning_marlhf.reporting.compare import compare_runs
    from lightning_marlhf.studies.report import first_table

    text = compare_runs(rows, title=options.title, folder=options.out, shown_from=Path())
    page, markdown = options.out / "report.html", options.out / "report.md"
    sys.stdout.write(printable(f"{first_table(text)}\nreport: {page}, {markdown}\n"))
    return 0


def gather(folders: Sequence[Path]) -> dict[Path, dict[int, Path]]:
    """Return the runs that folders name: folder of a row -> seed -> run directory.

    Raises:
        ValueError: a folder is not there or holds no run, or one run is named twice.
    """
    rows: dict[Path, dict[int, Path]] = {}
    for folder in folders:
        for row, seed, run in _runs_of(folder):
            if seed in rows.setdefault(row, {}):
                raise ValueError(f"{run} is named twice")
            rows[row][seed] = run
    return rows


def _runs_of(folder: Path) -> list[tuple[Path, int, Path]]:
    if not folder.is_dir():
        there = [path.name for path in folder.parent.glob("*") if path.is_dir()]
        raise ValueError(f"no folder {folder}{did_you_mean(folder.name, there)}")
    name = _SEED.fullmatch(folder.name)
    if _is_run(folder):
        return [(folder.parent, int(name[1]), folder) if name else (folder, _ONE_SEED, folder)]
    seeds = {
        int(match[1]): path
        for path in folder.iterdir()
        if (match := _SEED.fullmatch(path.name)) and _is_run(path)
    }
    if not seeds:
        expected = f"expected {DONE_FILE}, {METRICS_FILE} or completions/ in it, or seed-* below"
        raise ValueError(f"{folder} holds no run: {expected}")
    return [(folder, seed, seeds[seed]) for seed in sorted(seeds)]


def _is_run(folder: Path) -> bool:
    return any((folder / name).exists() for name in _OF_A_RUN)


def _labelled(
    rows: Mapping[Path, Mapping[int, Path]], labels: Sequence[str]
) -> dict[str, Mapping[int, Path]]:
    if not labels:
        labels = list(short_labels([str(row) for row in rows]).values())
    if len(labels) != len(rows) or len(set(labels)) < len(labels):
        named = ", ".join(map(str, rows))
        raise ValueError(
            f"--label: expected {len(rows)} different names, for {named}; got {', '.join(labels)}"
        )
    return dict(zip(labels, rows.values(), strict=True))
