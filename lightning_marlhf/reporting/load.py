"""Loads run directories. A missing or broken file becomes a note, never an exception."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from lightning_marlhf.files import read_json
from lightning_marlhf.records import Completion, RunSummary, read_completions
from lightning_marlhf.reporting.spec import SystemReport
from lightning_marlhf.run_folder import DONE_FILE, ENVIRONMENT_FILE, METRICS_FILE, PROGRESS_FILE, TEST_COMPLETIONS

Result = TypeVar("Result")
_METRIC_COLUMNS = ["step", "name", "value"]


@dataclass(frozen=True)
class Run:
    """Contents of one run directory."""

    stage: str
    seed: int
    folder: Path
    metrics: pd.DataFrame  # columns step, name, value; empty if there is no file
    completions: tuple[Completion, ...]  # responses to the held-out prompts
    summary: RunSummary | None  # None until the stage is finished
    progress: dict[str, Any]
    environment: dict[str, Any]
    problems: tuple[str, ...] = ()  # files that could not be read

    def metric(self, name: str) -> pd.Series:
        """Return a metric's finite values, indexed by optimizer update; empty if not logged."""
        rows = self.metrics[self.metrics["name"] == name]
        return pd.Series(rows["value"].to_numpy(), index=rows["step"].to_numpy(), name=name)

    @property
    def results(self) -> dict[str, float]:
        """The metrics of a finished run; empty before."""
        return self.summary.metrics if self.summary else {}

    @property
    def state(self) -> str:
        """The run's state, as text."""
        if self.summary is not None:
            return "finished"
        if not self.folder.is_dir():
            return "not started"
        status = str(self.progress.get("status", "not finished"))
        if {"step", "max_steps"} <= self.progress.keys():
            return f"{status}, update {self.progress['step']} of {self.progress['max_steps']}"
        return status


@dataclass(frozen=True)
class System:
    """A task with a model: its runs, as far as they are on disk, and how the report shows them."""

    spec: SystemReport
    folder: Path  # a run lies in <folder>/<stage>/seed-<N>
    seeds: tuple[int, ...]
    runs: dict[tuple[str, int], Run] = field(repr=False)  # by stage and seed
    damaged: set[str] = field(default_factory=set)  # results of evaluations that could not be read

    def runs_of(self, stage: str | None) -> list[Run]:
        """Return the runs of one stage, in the order of the seeds."""
        return [self.runs[key] for seed in self.seeds if (key := (stage, seed)) in self.runs]

    def tested(self, stage: str | None) -> list[Run]:
        """Return the runs of one stage that have responses to the held-out prompts."""
        return [run for run in self.runs_of(stage) if run.completions]

    @cached_property
    def logged(self) -> frozenset[str]:
        """The names of all metrics that the rows have logged."""
        runs = [run for row in self.spec.rows for run in self.runs_of(row.stage)]
        return frozenset(name for run in runs for name in run.metrics["name"].unique())

    def evaluations(self, name: str, read: Callable[[Mapping[str, Any]], Result]) -> dict[str, list[Result]]:
        """Return the evaluation results in the file ``name``: stage -> one per seed.

        Args:
            name: Of the files.
            read: Makes a result of a JSON object. Where it raises, the file counts as damaged.
        """
        found: dict[str, list[Result]] = {}
        for stage, seed in itertools.product(self.spec.evaluations, self.seeds):
            path = self.folder / stage / f"seed-{seed}" / name
            problems: list[str] = []
            content = _read_object(path, problems)
            try:
                results = [read(content)] if content else []
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                results, problems = [], [f"{name}: {error}"]
            if results:
                found.setdefault(stage, []).extend(results)
            self.damaged.update(f"{stage}, seed {seed}: could not read {each}" for each in problems)
        return found


def load_system(spec: SystemReport, *, output: Path, seeds: Sequence[int]) -> System:
    """Load the runs of every row.

    Args:
        spec: Report to load runs for. A system without a name owns the output folder: its other stages are
            loaded too, for the provenance section.
        output: The run of a stage is ``<output>/<name>/<stage>/seed-<N>``.
        seeds: The seeds to show.
    """
    folder = output / spec.name
    shown = [s for s in (spec.reward_model, *(row.stage for row in spec.rows)) if s is not None]
    there = set() if spec.name else {f.parent.name for f in folder.glob("*/seed-*") if f.is_dir()}
    runs = {
        (stage, seed): load_run(folder / stage / f"seed-{seed}", stage=stage, seed=seed)
        for stage in dict.fromkeys([*sorted(there - set(shown)), *shown])
        for seed in seeds
    }
    return System(spec=spec, folder=folder, seeds=tuple(seeds), runs=runs)


def load_run(folder: Path, *, stage: str, seed: int) -> Run:
    """Read one run directory, which may be unfinished or absent."""
    problems: list[str] = []
    done = _read_object(folder / DONE_FILE, problems)
    return Run(
        stage=stage,
        seed=seed,
        folder=folder,
        metrics=_read_metrics(folder / METRICS_FILE, problems),
        completions=tuple(read_responses(folder / TEST_COMPLETIONS, problems)),
        summary=_read_summary(done, problems),
        progress=_read_object(folder / PROGRESS_FILE, problems),
        environment=_read_object(folder / ENVIRONMENT_FILE, problems),
        problems=tuple(problems),
    )


def read_responses(path: Path, problems: list[str]) -> list[Completion]:
    """Read completions; an unreadable file adds a line to ``problems`` and gives none."""
    if not path.is_file():
        return []
    try:
        return read_completions(path)
    except (ValueError, TypeError, OSError) as error:
        problems.append(f"{path.name}: {error}")
        return []


def _read_summary(done: Mapping[str, Any], problems: list[str]) -> RunSummary | None:
    """Read `done.json`; one that is unfinished, or holds something else than numbers, counts as none."""
    if not {"command", "step", "seconds"} <= done.keys():
        return None
    try:
        summary = RunSummary.from_dict(done)
        numbers = {name: float(value) for name, value in summary.metrics.items()}
        round(summary.step + summary.seconds)  # a NaN or an infinite one cannot be
    except (ValueError, TypeError, AttributeError, OverflowError) as error:
        problems.append(f"{DONE_FILE}: {error}")
        return None
    return replace(summary, metrics=numbers)


def _read_object(path: Path, problems: list[str]) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        return read_json(path)
    except (ValueError, OSError) as error:
        problems.append(f"{path.name}: {error}")
        return {}


def _read_metrics(path: Path, problems: list[str]) -> pd.DataFrame:
    """Read the long table; of rows written twice (after a resume) the later one counts."""
    if not path.is_file():
        return pd.DataFrame(columns=_METRIC_COLUMNS)
    try:
        table = pd.read_csv(path, on_bad_lines="skip")[_METRIC_COLUMNS]
    except (ValueError, KeyError, OSError, OverflowError) as error:  # pandas raises ValueErrors
        problems.append(f"{path.name}: {error}")
        return pd.DataFrame(columns=_METRIC_COLUMNS)
    table["step"] = pd.to_numeric(table["step"], errors="coerce")
    table["value"] = pd.to_numeric(table["value"], errors="coerce")
    table = table.replace([np.inf, -np.inf], np.nan).dropna()
    table = table.drop_duplicates(["step", "name"], keep="last").sort_values("step", kind="stable")
    return table.astype({"step": int, "value": float}).reset_index(drop=True)
