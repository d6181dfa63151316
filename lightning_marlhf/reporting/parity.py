"""How many updates each row needs to reach the reference run's final score, and how much sooner that is."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from lightning_marlhf.display.document import Block, Cell, Note
from lightning_marlhf.display.text import MISSING, number
from lightning_marlhf.reporting.curves import final_level, score_metric, updates_to_reach
from lightning_marlhf.reporting.layout import make_table, paper_cell
from lightning_marlhf.reporting.load import System
from lightning_marlhf.reporting.spec import ReportRow
from lightning_marlhf.reporting.statistics import median_interval

NOT_REACHED = "not reached"


def parity(systems: Sequence[System]) -> list[Block]:
    """Return a line for each score and trained row; nothing if there is nothing to compare with."""
    systems = [s for s in systems if s.spec.reference_run and len(s.spec.rows) > 1]
    if not systems:
        return []
    lines = [
        (system, line)
        for system in systems
        for key in system.spec.scores
        for row in system.spec.trained_rows
        if (line := _line(system, row, key))
    ]
    name = _reference(systems[0])
    caption = (
        f"First update at which the smoothed training curve is at or above the level on which {name}'s smoothed curve"
        f" ends (same seed), per {name} update; {name} itself may cross it early. Speed-up: its inverse."
        f" Never: seeds that do not get there. {_interval_caption(max(len(s.seeds) for s in systems))}"
    )
    table = make_table(lines, caption.strip(), num_left=2, name="parity")
    return [table or Note("The reference run is not finished, or has no curves.")]


def _line(system: System, row: ReportRow, key: str) -> dict[str, Cell]:
    """Return the line of one score; nothing if a curve is missing in every seed."""
    spec, stage = system.spec, row.stage
    found = crossings(system, stage, score_metric(key, logged=system.logged))
    if not found:
        return {}
    shares = [crossing.share for crossing in found.values()]
    reported = [
        paper_cell(system, "rollouts", stage, decimals=0),
        paper_cell(system, "speedup", stage, decimals=1, unit=" x"),
    ]
    if key != next(iter(spec.scores)):  # the paper's are those of the score that training maximises
        reported = [Cell(""), Cell("")]
    several = len(system.seeds) > 1
    return {
        "Score": Cell(spec.scores[key]),
        "Run": Cell(row.label),
        "Paper: rollouts": reported[0],
        "Paper: speed-up": Cell("") if stage == spec.reference_run else reported[1],
        "Speed-up": speed_up_cell(shares),
        f"Fraction of {_reference(system)}'s updates": share_cell(shares),
        "Never": Cell(f"{sum(map(math.isinf, shares))} of {len(shares)}"),
        **{
            f"Seed {seed}" if several else "Updates": Cell(
                str(found[seed].update or NOT_REACHED) if seed in found else MISSING
            )
            for seed in system.seeds
        },
    }


class Crossing(NamedTuple):
    """Where a row's smoothed score first is the reference run's final one."""

    update: int | None  # None: never
    share: float  # of the reference run's updates; infinite: never


def crossings(system: System, stage: str, metric: str) -> dict[int, Crossing]:
    """Return where a row reaches the reference run, by seed; compared within a seed.

    A seed for which one of the two curves is missing, or the reference run is unfinished, is left out.
    """
    references = {run.seed: run for run in system.runs_of(system.spec.reference_run) if run.summary}
    found = {}
    for run in system.runs_of(stage):
        curve = run.metric(metric)
        reference = references[run.seed].metric(metric) if run.seed in references else curve[:0]
        if len(curve) and len(reference):
            update = updates_to_reach(curve, level=final_level(reference))
            share = math.inf if update is None else update / reference.index[-1]
            found[run.seed] = Crossing(update, share)
    return found


def share_cell(shares: Sequence[float]) -> Cell:
    """Return the median share in per cent, with its interval."""
    found = median_interval(shares)
    detail = "" if math.isnan(found.low) else f"({_percent(found.low)} to {_percent(found.high)})"
    return Cell(_percent(found.median), detail)


def speed_up_cell(shares: Sequence[float]) -> Cell:
    """Return the median of the shares' inverses with its interval; that of a share never reached is 0."""
    found = median_interval([1 / share if share else math.inf for share in shares])
    detail = f"({_times(found.low)} to {_times(found.high)})" if len(shares) > 1 else ""
    return Cell(f"{_times(found.median)} x", detail)


def _percent(share: float) -> str:
    return NOT_REACHED if math.isinf(share) else f"{number(100 * share, 0)} %"


def _times(value: float) -> str:
    return "less than 1" if value == 0 else number(value, 2)


def _reference(system: System) -> str:
    return system.spec.label_of(str(system.spec.reference_run))


def _interval_caption(num_seeds: int) -> str:
    """Explain the interval and the censoring of seeds that never reach parity; empty for one seed."""
    if num_seeds < 2:
        return ""
    coverage = median_interval(map(float, range(num_seeds))).coverage
    return (
        "Median over seeds; a seed that never gets there is censored: it counts as later than all others. The interval"
        f" is between order statistics, {100 * coverage:.0f} % for {num_seeds} seeds."
    )
