"""The schema of plan files: which stages are run, with which seeds, and what is reported of them.

A plan runs its `stages:`, or those of `pipelines:` on `systems:`, as far as its `rows:` need them. Several plans can
share a file by `include:`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lightning_marlhf.ranges import PositiveInt, Seed
from lightning_marlhf.reporting.spec import DEFAULT_SECTIONS, SectionName, SystemReport
from lightning_marlhf.studies.stages import Stage


@dataclass(frozen=True, kw_only=True)
class Quick:
    """Smoke-run settings.

    Args:
        output: Another folder than the plan's.
        seeds: Others than the plan's.
        set: Stage -> setting -> value.
    """

    output: str
    seeds: tuple[Seed, ...] = ()
    set: dict[str, dict] = field(default_factory=dict)  # type: ignore[type-arg]


@dataclass(frozen=True, kw_only=True)
class PlanReport(SystemReport):
    """What is reported of a plan's own stages: a `SystemReport` that is checked when these are known."""

    def __post_init__(self) -> None:
        pass


@dataclass(frozen=True, kw_only=True)
class Pipeline:
    """The stages of one or more systems.

    Args:
        stages: In an order in which they can run.
        quick: Stage -> setting -> value, for `--quick`.
        scores: These and the others are as in `SystemReport`; what is no stage of a row has no part in a report.
    """

    stages: tuple[Stage, ...]
    quick: dict[str, dict] = field(default_factory=dict)  # type: ignore[type-arg]
    scores: dict[str, str] = field(default_factory=dict)
    baseline: str | None = None
    reference_run: str | None = None
    reward_model: str | None = None
    programs: str | None = None


@dataclass(frozen=True, kw_only=True)
class System:
    """A task with a model.

    Args:
        label: Name in reports.
        pipeline: The stages that it is trained and evaluated by.
        configs: Folder of the stages' configs, relative to the file.
        task: Value of `{task}` in the arguments of evaluations.
        hardware: Name of a config -> the overlay that it gets.
        substitutes: The systems that this one can be run in place of.
    """

    label: str
    pipeline: str
    configs: Path
    task: str = "general"
    hardware: dict[str, Path] = field(default_factory=dict)
    substitutes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Row:
    """What a plan shows of one system.

    Args:
        system: Its name.
        runs: Stages that are compared.
        evaluations: Stages whose results are shown.
        label: Name in the report; by default the system's.
    """

    system: str
    runs: tuple[str, ...]
    evaluations: tuple[str, ...] = ()
    label: str = ""


@dataclass(frozen=True, kw_only=True)
class PlanFile:
    """What a plan's YAML may hold.

    Args:
        title: Of the report.
        output: The runs of a stage lie in `<output>/<stage>/seed-<N>`, or in `<output>/<system>/<stage>/seed-<N>`.
        include: A YAML in the plan's folder with further keys.
        seeds: One run of each stage for each.
        jobs: Number of concurrent stages.
        stages: In an order in which they can run.
        report: What is reported of `stages`.
        pipelines: Stages of systems.
        systems: What pipelines are run on.
        rows: The systems that the plan shows.
        sections: Of the report.
        reported: A YAML with the paper's numbers: system -> measure -> run -> number.
        quick: What `--quick` changes.
    """

    title: str
    output: str
    include: str | None = None
    seeds: tuple[Seed, ...] = (1,)
    jobs: PositiveInt = 1
    stages: tuple[Stage, ...] = ()
    report: PlanReport | None = None
    pipelines: dict[str, Pipeline] = field(default_factory=dict)
    systems: dict[str, System] = field(default_factory=dict)
    rows: tuple[Row, ...] = ()
    sections: tuple[SectionName, ...] = DEFAULT_SECTIONS
    reported: Path | None = None
    quick: Quick | None = None

    def __post_init__(self) -> None:
        check_seeds(self.seeds)
        if not self.stages and not self.rows:
            raise ValueError("stages: expected at least one, or rows: of systems")
        if self.stages and self.rows:
            raise ValueError("rows: a plan with stages: of its own has report: instead")


def check_seeds(seeds: Sequence[int]) -> None:
    """Refuse seeds of which no study can be made.

    Raises:
        ValueError: There are none, or one is there twice.
    """
    if not seeds or len(set(seeds)) < len(seeds):
        raise ValueError(f"seeds: expected a list of different whole numbers, got {[*seeds]}")
