"""A report on any runs that somebody names, whatever study they belong to."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from lightning_marlhf.display.blocks import Note, Pictures, Section
from lightning_marlhf.reporting.load import Run, Study, load_run
from lightning_marlhf.reporting.old_spec import ReportSpec, RowSpec
from lightning_marlhf.reporting.plots import diagnostics_picture
from lightning_marlhf.reporting.report import build_sections, write_report

_TRAINED_ON = ("rm", "score", "code")  # names that are shown first
_PROGRAMS = re.compile(r"objective/(\w+)_compile")
_LOSS = ("loss/", "eval/loss", "eval/accuracy")
_MOST_LOSSES = 8


def compare_runs(
    rows: Mapping[str, Mapping[int, Path]], *, title: str, folder: Path, shown_from: Path
) -> str:
    """Write ``report.md``, ``report.html`` and ``report/*.{png,svg}`` into ``folder``.

    Args:
        rows: label -> seed -> run directory. The first row is what the others are compared with.
        title: of the report.
        folder: where the report goes.
        shown_from: paths below it are shown without it.

    Returns:
        The text of ``report.md``.
    """
    study = _load(rows, shown_from)
    sections = build_sections(study)
    losses = _losses(study)
    if losses is not None:
        at = next(n for n, section in enumerate(sections) if section.title == "Training curves")
        sections.insert(at, losses)
    return write_report(title, sections, folder=folder)


def _load(rows: Mapping[str, Mapping[int, Path]], shown_from: Path) -> Study:
    runs = {
        (label, seed): load_run(folder, stage=label, seed=seed)
        for label, folders in rows.items()
        for seed, folder in folders.items()
    }
    seeds = tuple(sorted({seed for _, seed in runs}))
    for label in rows:  # a row that lacks a seed has a run that was not started
        for seed in seeds:
            missing = shown_from / label / f"seed-{seed}-missing"
            runs.setdefault((label, seed), load_run(missing, stage=label, seed=seed))
    every = list(runs.values())
    spec = ReportSpec(
        rows=tuple(RowSpec(label, label) for label in rows),
        scores={name: name for name in _scores(every)},
        reference_run=next(iter(rows)),
        programs=_programs(every),
    )
    return Study(spec=spec, output=shown_from, seeds=seeds, runs=runs)


def _scores(runs: Sequence[Run]) -> list[str]:
    """Return the names of all scores of held-out answers, that of training first."""
    names = dict.fromkeys(name for run in runs for c in run.completions for name in c.scores)
    order = {name: n for n, name in enumerate(_TRAINED_ON)}
    return sorted(names, key=lambda name: order.get(name, len(order)))


def _programs(runs: Sequence[Run]) -> str | None:
    found = (_PROGRAMS.fullmatch(name) for run in runs for name in run.metrics["name"].unique())
    return next((match[1] for match in found if match), None)


def _losses(study: Study) -> Section | None:
    names = [name for name in sorted(study.logged) if name.startswith(_LOSS)]
    if not names:
        return None
    chosen = {name: name for name in names[:_MOST_LOSSES]}
    picture = diagnostics_picture(study, chosen, name="losses")
    caption = "Bold: smoothed; faint: as logged; band: lowest to highest seed."
    blocks = (Pictures((picture,), caption),) if picture else (Note("No losses were logged."),)
    return Section("Losses and accuracies", blocks)
