"""Provenance: configurations, code, versions, machine, wall time; and missing results."""

from collections.abc import Mapping, Sequence
from typing import Any

from lightning_marlhf.display.document import Block, Cell, Note, Table, cells
from lightning_marlhf.display.text import MISSING, duration
from lightning_marlhf.reporting.layout import Line, make_table
from lightning_marlhf.reporting.load import System
from lightning_marlhf.run_folder import CONFIG_FILE

_DIFFERS_BY_STAGE = {"command", "started"}  # a stage's arguments are in its config
_MAX_VARIANTS = 4


def provenance(systems: Sequence[System]) -> list[Block]:
    """Return the table of runs and that of their environments."""
    environment = environment_table(systems)
    return [run_table(systems), environment or Note("No run has left an environment.json.")]


def missing_notes(systems: Sequence[System]) -> list[Note]:
    """Return a note for each run that is unfinished, unreadable, or without responses to held-out prompts."""
    notes = []
    for system in systems:
        compared = {row.stage for row in system.spec.rows}
        prefix = f"{system.spec.label}, " if system.spec.label else ""
        for run in system.runs.values():
            label = system.spec.label_of(run.stage)
            where = f"{run.stage}, seed {run.seed}" if label != run.stage else f"seed {run.seed}"
            name = f"{prefix}{label} ({where})"
            if run.summary is None:
                notes.append(f"{name}: {run.state}.")
            notes += [f"{name}: could not read {problem}" for problem in run.problems]
            if run.stage in compared and run.folder.is_dir() and not run.completions:
                notes.append(f"{name}: not tested: no responses to held-out prompts, so no scores.")
        notes += [f"{prefix}{each}" for each in sorted(system.damaged)]
    return list(map(Note, notes))


def run_table(systems: Sequence[System]) -> Table:
    """Return every run's state, updates, wall time and resolved configuration."""
    lines: list[Line] = []
    total = 0.0
    for system in systems:
        for run in system.runs.values():
            total += run.summary.seconds if run.summary else 0.0
            config = run.folder / CONFIG_FILE
            below = config.is_relative_to(system.folder)
            shown = config.relative_to(system.folder) if below else config
            line = {
                "Stage": run.stage,
                "State": run.state,
                "Configuration": shown.as_posix() if config.is_file() else MISSING,
                "Seed": str(run.seed),
                "Updates": str(run.summary.step) if run.summary else MISSING,
                "Wall time": duration(run.summary.seconds) if run.summary else MISSING,
            }
            lines.append((system, {title: Cell(text) for title, text in line.items()}))
    caption = f"Wall time of all runs together: {duration(total)} (concurrent runs count separately)."
    table = make_table(lines, caption, num_left=3)
    assert table is not None  # a system has rows
    return table


def environment_table(systems: Sequence[System]) -> Table | None:
    """Return `environment.json` as a table, one line per key; None if no run has one."""
    variants: dict[str, dict[str, list[str]]] = {}
    for system in systems:
        for run in system.runs.values():
            name = " ".join([*filter(None, [system.spec.name]), f"{run.stage} {run.seed}"])
            for key, value in run.environment.items():
                if key not in _DIFFERS_BY_STAGE:
                    variants.setdefault(key, {}).setdefault(_in_words(value), []).append(name)
    if not variants:
        return None
    rows = tuple(cells(key, _join_variants(texts)) for key, texts in variants.items())
    return Table(header=("What", "Value"), rows=rows, num_left=2)


def _in_words(value: Any) -> str:
    if isinstance(value, Mapping) and value:
        return ", ".join(f"{key} {_in_words(item)}" for key, item in value.items())
    if isinstance(value, list) and value:
        return "; ".join(_in_words(item) for item in value)
    return MISSING if value in (None, [], {}) else str(value)


def _join_variants(texts: Mapping[str, list[str]]) -> str:
    """Return the one value, or each value with the runs that had it."""
    if len(texts) == 1:
        return next(iter(texts))
    shown = [f"{text} ({', '.join(runs)})" for text, runs in list(texts.items())[:_MAX_VARIANTS]]
    rest = len(texts) - len(shown)
    return "; ".join([*shown, *([f"and {rest} more"] if rest else [])])
