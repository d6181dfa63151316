"""What a plan's ``report:`` section asks for, checked."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self


@dataclass(frozen=True)
class RowSpec:
    """One row of the result table."""

    stage: str  # folder of the stage below the plan's output
    label: str  # the row's name in tables and figures


@dataclass(frozen=True)
class ReportSpec:
    """Which stages are compared, on which scores, and with what."""

    rows: tuple[RowSpec, ...]
    scores: Mapping[str, str]  # scorer name in the completions -> name in the report
    baseline: str | None = None  # stage of the row that training started from, usually SFT
    reference_run: str | None = None  # stage of the row that the others are compared with
    reward_model: str | None = None  # stage that trained the reward model
    programs: str | None = None  # name of the scorer that ran the tests of programs

    @classmethod
    def from_mapping(cls, report: Mapping[str, Any]) -> Self:
        """Read the section.

        Raises:
            ValueError: an unknown key, no rows, a row without a stage, or a baseline or a
                reference run that is no row.
        """
        known = [f.name for f in fields(cls)]
        unknown = sorted(set(report) - set(known))
        if unknown:
            raise ValueError(f"report: expected keys {known}, got {unknown}")
        rows = tuple(_read_row(row) for row in report.get("rows") or ())
        if not rows:
            raise ValueError("report.rows: expected at least one row, got none")
        stages = [row.stage for row in rows]
        if len(set(stages)) < len(stages):
            raise ValueError(f"report.rows: expected each stage once, got {stages}")
        for key in ("baseline", "reference_run"):
            if report.get(key) not in (None, *stages):
                raise ValueError(f"report.{key}: expected one of {stages}, got {report[key]!r}")
        return cls(
            rows=rows,
            scores=dict(report.get("scores") or {}),
            baseline=report.get("baseline"),
            reference_run=report.get("reference_run"),
            reward_model=report.get("reward_model"),
            programs=report.get("programs"),
        )

    def label(self, stage: str) -> str:
        """Return the name of a stage's row, or the stage itself where it has no row."""
        return next((row.label for row in self.rows if row.stage == stage), stage)

    @property
    def trained_rows(self) -> tuple[RowSpec, ...]:
        """The rows that reinforcement learning made: all but the baseline."""
        return tuple(row for row in self.rows if row.stage != self.baseline)


def _read_row(row: Mapping[str, Any]) -> RowSpec:
    if "stage" not in row or set(row) - {"stage", "label"}:
        raise ValueError(f"report.rows: expected rows of {{stage, label}}, got {dict(row)}")
    return RowSpec(stage=str(row["stage"]), label=str(row.get("label", row["stage"])))
