"""Specification of a report. Plain dataclasses, so that plan files are parsed straight into them.

Light to import: no pandas, no matplotlib.
"""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

SectionName = Literal[
    "scores",
    "score_picture",
    "differences",
    "pass_at_k",
    "win_rates",
    "best_of_n",
    "reward_model",
    "last_values",
    "losses",
    "curves",
    "frontier",
    "parity",
    "distributions",
    "overoptimization",
    "diagnostics",
    "traces",
    "samples",
    "details",
]
# Sections in which none of the runs has anything to show, such as pass@k of a study without programs, are left out.
DEFAULT_SECTIONS: tuple[SectionName, ...] = (
    "scores",
    "pass_at_k",
    "differences",
    "reward_model",
    "curves",
    "frontier",
    "parity",
    "diagnostics",
    "traces",
    "samples",
)
# For the note of a study's quick variant.
SMOKE_RUN = (
    "Smoke run: its settings are far too small to learn anything. It shows that everything runs; its numbers mean"
    " nothing."
)


@dataclass(frozen=True, kw_only=True)
class ReportRow:
    """One row of the report's tables: the runs of one stage, one for each seed.

    Args:
        stage: Folder of the stage below the system's folder.
        label: Name in tables and figures; by default the stage's.
    """

    stage: str
    label: str = ""

    def __post_init__(self) -> None:
        if not self.label:
            object.__setattr__(self, "label", self.stage)


@dataclass(frozen=True, kw_only=True)
class ReportedNumber:
    """A number of the paper.

    Args:
        value: The number, or the two ends of a range.
        confidence: How sure we are that the paper reports it.
    """

    value: float | tuple[float, float]
    confidence: Literal["low", "medium", "high"]


@dataclass(frozen=True, kw_only=True)
class SystemReport:
    """One system of a report: a task with a model. A study's report has one.

    Args:
        rows: Stages that are compared.
        scores: Name of a scorer in the completions -> name in the report. Training maximises the first.
        baseline: Stage of the row that training started from, usually SFT.
        reference_run: Stage of the row that the others are compared with.
        reward_model: Stage that trained the reward model.
        programs: Name of the scorer that ran the tests of programs.
        evaluations: Stages whose results (win rates, best of N) are shown.
        name: Folder of the system below the output folder; empty if the stages lie in the output folder itself.
        label: Name in tables that show several systems; by default `name`.
        reported: The paper's numbers: measure -> run -> number. None if the paper has no such system.

    Raises:
        ValueError: There are no rows, two have one stage or one label, two scores have one
            name, or the baseline or the reference run is none of them.
    """

    rows: Sequence[ReportRow]
    scores: dict[str, str] = field(default_factory=dict)
    baseline: str | None = None
    reference_run: str | None = None
    reward_model: str | None = None
    programs: str | None = None
    evaluations: Sequence[str] = ()
    name: str = ""
    label: str = ""
    reported: dict[str, dict[str, ReportedNumber]] | None = None

    def __post_init__(self) -> None:
        if not self.label:
            object.__setattr__(self, "label", self.name)
        stages = [row.stage for row in self.rows]
        if not stages:
            raise ValueError("rows: expected at least one, got none")
        _refuse_twice("rows", stages)
        _refuse_twice("rows", [row.label for row in self.rows])
        _refuse_twice("scores", list(self.scores.values()))
        for key in ("baseline", "reference_run"):
            stage = getattr(self, key)
            if stage is not None and stage not in stages:
                raise ValueError(f"{key}: expected the stage of a row, one of {', '.join(stages)}; got {stage!r}")

    def label_of(self, stage: str) -> str:
        """Return the label of a stage's row, or the stage itself if it has no row."""
        return next((row.label for row in self.rows if row.stage == stage), stage)

    @property
    def trained_rows(self) -> list[ReportRow]:
        """The rows that reinforcement learning made: all but the baseline."""
        return [row for row in self.rows if row.stage != self.baseline]


@dataclass(frozen=True, kw_only=True)
class ReportSpec:
    """What a report shows.

    Args:
        systems: One for a study, several for a table of the paper.
        sections: In reading order.
        note: Stands above everything, such as that the numbers of a smoke run mean nothing.

    Raises:
        ValueError: There are no systems, two have one name, or a section is unknown or named twice.
    """

    systems: Sequence[SystemReport]
    sections: Sequence[SectionName] = DEFAULT_SECTIONS
    note: str = ""

    def __post_init__(self) -> None:
        if not self.systems:
            raise ValueError("systems: expected at least one, got none")
        _refuse_twice("systems", [system.name for system in self.systems])
        known = get_args(SectionName)
        for name in self.sections:
            if name not in known:
                raise ValueError(f"sections: expected some of {', '.join(known)}; got {name!r}")
        _refuse_twice("sections", self.sections)


def _refuse_twice(key: str, names: Collection[str]) -> None:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise ValueError(f"{key}: expected each once, got {twice[0]!r} twice")
