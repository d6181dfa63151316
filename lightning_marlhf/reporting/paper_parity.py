"""Time to parity of several systems: how much sooner a run is as good as the reference run becomes."""

from collections.abc import Sequence

from lightning_marlhf.display.blocks import Block, Cell, Note, Table
from lightning_marlhf.reporting.curves import score_metric
from lightning_marlhf.reporting.parity import interval_caption, parity_shares, share_cell
from lightning_marlhf.reporting.statistics import median_interval
from lightning_marlhf.reporting.systems import System
from lightning_marlhf.reporting.text import number


def paper_parity_table(systems: Sequence[System]) -> list[Block]:
    """Return a line for each system and run, by the score that training maximises."""
    rows = [
        line
        for system in systems
        for row in system.study.spec.trained_rows
        if (line := _line(system, row.stage))
    ]
    if not rows:
        return [Note("The reference run is not finished, or has no curves.")]
    header = ("System", "Run", "Paper: rollouts", "Paper: speed-up", "Speed-up")
    caption = (
        "Share of PPO's updates after which the smoothed training curve first is at the level on which PPO's smoothed"
        " curve ends (same seed); PPO itself may cross it early. Speed-up: its inverse."
        f" Never: seeds that do not get there. {interval_caption(max(len(system.study.seeds) for system in systems))}"
    )
    columns = (*header, "Share of PPO's updates", "Never", "Seeds")
    return [Table(columns, tuple(rows), caption.strip(), num_left=2, name="parity")]


def _line(system: System, stage: str) -> tuple[Cell, ...] | None:
    study = system.study
    metric = score_metric(next(iter(study.spec.scores)), logged=study.logged)
    shares = parity_shares(study, stage, metric)
    if not shares:
        return None
    never = sum(share == float("inf") for share in shares)
    return (
        Cell(system.label),
        Cell(study.spec.label(stage)),
        system.paper("rollouts", stage, decimals=0),
        Cell("")
        if stage == study.spec.reference_run
        else system.paper("speedup", stage, decimals=1, unit=" x"),
        _speed_up(shares),
        share_cell(shares),
        Cell(f"{never} of {len(shares)}"),
        Cell(str(len(shares))),
    )


def _speed_up(shares: Sequence[float]) -> Cell:
    found = median_interval([1 / share for share in shares])  # of one that is never reached: 0
    detail = f"({_times(found.low)} to {_times(found.high)})" if len(shares) > 1 else ""
    return Cell(f"{_times(found.median)} x", detail)


def _times(value: float) -> str:
    return "less than 1" if value == 0 else number(value, 2)
