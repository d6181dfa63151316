"""A report on arbitrary run directories, from any study, tested or not."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from lightning_marlhf.config.suggest import did_you_mean
from lightning_marlhf.reporting.curves import TRAINED_SCORE_METRIC
from lightning_marlhf.reporting.load import Run, System, load_run
from lightning_marlhf.reporting.report import Report, write_report
from lightning_marlhf.reporting.spec import ReportRow, SectionName, SystemReport
from lightning_marlhf.run_folder import COMPLETIONS, CONFIG_FILE, DONE_FILE, METRICS_FILE, PROGRESS_FILE

_SECTIONS: tuple[SectionName, ...] = (
    *("scores", "last_values", "pass_at_k", "differences", "losses", "curves", "frontier", "parity"),
    *("diagnostics", "traces", "samples"),
)
_OF_A_RUN = (DONE_FILE, METRICS_FILE, PROGRESS_FILE, COMPLETIONS, CONFIG_FILE)
_SEED = re.compile(r"seed-(\d+)")
_ONE_SEED = 1  # of a run whose folder names none
_TRAINED_ON = ("rm", "score", "code")  # names that are shown first
_PROGRAMS = re.compile(r"objective/(\w+)_compile")
_NO_SCORES = r"kl|kl_coefficient|entropy|non_score_reward|rlhf_reward|scores|scores_clamped|\w+_invalid"
_SCORE = re.compile(rf"objective/(?!(?:{_NO_SCORES})$)(\w+)")


def report_runs(rows: Mapping[str, Mapping[int, Path]], *, title: str, folder: Path, shown_from: Path) -> Report:
    """Write the report of some runs into ``folder``.

    Args:
        rows: label -> seed -> run directory. The first row is the baseline.
        title: Of the report.
        folder: Where the report goes.
        shown_from: Paths below it are shown without it.
    """
    seeds = tuple(sorted({seed for folders in rows.values() for seed in folders}))
    runs = {}
    for label, folders in rows.items():
        for seed in seeds:  # a row that lacks a seed has a run that was not started
            path = folders.get(seed, shown_from / label / f"seed-{seed}-missing")
            runs[label, seed] = load_run(path, stage=label, seed=seed)
    spec = SystemReport(
        rows=[ReportRow(stage=label) for label in rows],
        scores={name: name for name in _scores(list(runs.values()))},
        reference_run=next(iter(rows)),
        programs=_programs(list(runs.values())),
    )
    system = System(spec=spec, folder=shown_from, seeds=seeds, runs=runs)
    return write_report([system], _SECTIONS, title=title, folder=folder)


def find_runs(folders: Sequence[Path]) -> dict[Path, dict[int, Path]]:
    """Return the runs that folders name: folder of a row -> seed -> run directory.

    Raises:
        ValueError: A folder is not there or holds no run, or one run is named twice.
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
        int(match[1]): path for path in folder.iterdir() if (match := _SEED.fullmatch(path.name)) and _is_run(path)
    }
    if not seeds:
        expected = f"expected {DONE_FILE}, {METRICS_FILE} or completions/ in it, or seed-* below"
        raise ValueError(f"{folder} holds no run: {expected}")
    return [(folder, seed, seeds[seed]) for seed in sorted(seeds)]


def _is_run(folder: Path) -> bool:
    return any((folder / name).exists() for name in _OF_A_RUN)


def _scores(runs: Sequence[Run]) -> list[str]:
    """Return all scores, that of training first: those of held-out responses, or else those that training logged."""
    names = dict.fromkeys(name for run in runs for c in run.completions for name in c.scores)
    if not names:
        logged = [name for run in runs for name in run.metrics["name"].unique()]
        programs = f"{_programs(runs)}_"
        found = (match[1] for name in logged if (match := _SCORE.fullmatch(name)))
        names = dict.fromkeys(name for name in found if not name.startswith(programs))
        if not names and TRAINED_SCORE_METRIC in logged:
            names = {"score": None}
    order = {name: n for n, name in enumerate(_TRAINED_ON)}
    return sorted(names, key=lambda name: order.get(name, len(order)))


def _programs(runs: Sequence[Run]) -> str | None:
    found = (_PROGRAMS.fullmatch(name) for run in runs for name in run.metrics["name"].unique())
    return next((match[1] for match in found if match), None)
