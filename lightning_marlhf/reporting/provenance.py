"""What made the report: configurations, code, versions, machine and wall time."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning_marlhf.display.blocks import Table, cells
from lightning_marlhf.reporting.load import Study
from lightning_marlhf.reporting.text import MISSING, duration
from lightning_marlhf.run_folder import CONFIG_FILE

_DIFFERS_BY_STAGE = {"command", "started"}  # what a stage was called with is in its config
_MAX_VARIANTS = 4


def stage_table(study: Study) -> Table:
    """Return every stage's state, updates, wall time and resolved configuration."""
    rows = []
    total = 0.0
    for run in study.runs.values():
        summary = run.summary
        total += summary.seconds if summary else 0.0
        config = run.folder / CONFIG_FILE
        rows.append(
            cells(
                run.stage,
                run.state,
                _shown(config, study.output) if config.is_file() else MISSING,
                str(run.seed),
                str(summary.step) if summary else MISSING,
                duration(summary.seconds) if summary else MISSING,
            )
        )
    return Table(
        header=("Stage", "State", "Configuration", "Seed", "Updates", "Wall time"),
        rows=tuple(rows),
        caption=f"Wall time of all stages together: {duration(total)}"
        " (stages that ran side by side count twice).",
        num_left=3,
    )


def _shown(path: Path, output: Path) -> str:
    """Return a path below the study's folder, or as it is where it lies elsewhere."""
    return (path.relative_to(output) if path.is_relative_to(output) else path).as_posix()


def environment_table(study: Study) -> Table | None:
    """Return what `environment.json` says, one line a key; None where no run has one."""
    variants: dict[str, dict[str, list[str]]] = {}
    for run in study.runs.values():
        for key, value in run.environment.items():
            if key not in _DIFFERS_BY_STAGE:
                texts = variants.setdefault(key, {})
                texts.setdefault(_in_words(value), []).append(f"{run.stage} {run.seed}")
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
