"""How many updates each row needs to reach the reference run's final score."""

import math
from collections.abc import Sequence

import pandas as pd

from lightning_marlhf.display.blocks import Cell, Table, cells
from lightning_marlhf.reporting.curves import final_level, score_metric, updates_to_reach
from lightning_marlhf.reporting.load import Study
from lightning_marlhf.reporting.statistics import median_interval
from lightning_marlhf.reporting.text import MISSING, number

NOT_REACHED = "not reached"


def updates_to_parity(study: Study, stage: str, metric: str) -> dict[int, int | None]:
    """Return the first update at which a row's smoothed score is the reference run's final one.

    Compared within a seed. None where it is never reached; a seed for which one of the two curves
    is missing or the reference run is unfinished is left out.
    """
    crossings = {}
    for run in study.runs_of(stage):
        curve, reference = run.metric(metric), _reference_curve(study, run.seed, metric)
        if len(curve) and reference is not None:
            crossings[run.seed] = updates_to_reach(curve, level=final_level(reference))
    return crossings


def parity_shares(study: Study, stage: str, metric: str) -> list[float]:
    """Return each seed's updates to parity as a share of the reference run's; infinite where it is never reached."""
    shares = []
    for seed, crossing in updates_to_parity(study, stage, metric).items():
        reference = _reference_curve(study, seed, metric)
        if reference is not None:
            shares.append(math.inf if crossing is None else crossing / reference.index[-1])
    return shares


def parity_table(study: Study) -> Table | None:
    """Return the updates to parity, per row, score and seed; None where no row has any."""
    rows = []
    for key, label in study.spec.scores.items():
        metric = score_metric(key, logged=study.logged)
        for row in study.spec.trained_rows:
            crossings = updates_to_parity(study, row.stage, metric)
            if crossings:
                share = share_cell(parity_shares(study, row.stage, metric))
                single = [_seed_text(crossings, seed) for seed in study.seeds]
                rows.append((*cells(label, row.label), share, *cells(*single)))
    if not rows or study.spec.reference_run is None:
        return None
    name = study.spec.label(study.spec.reference_run)
    seeds = [f"Seed {seed}" for seed in study.seeds] if len(study.seeds) > 1 else ["Updates"]
    return Table(
        header=("Score", "Row", f"Share of {name}'s updates", *seeds),
        rows=tuple(rows),
        caption=f"First update at which the smoothed training curve is at or above the level on"
        f" which {name}'s smoothed curve ends (same seed). {name} itself may cross it early."
        f" {interval_caption(len(study.seeds))}".rstrip(),
        num_left=2,
    )


def interval_caption(num_seeds: int) -> str:
    """Say what a share's interval is, and how seeds count that never reach parity; nothing for one seed."""
    if num_seeds < 2:
        return ""
    coverage = median_interval(map(float, range(num_seeds))).coverage
    return (
        "Median over seeds; a seed that never gets there is censored: it counts as later than all others. The interval"
        f" is between order statistics, {100 * coverage:.0f} % for {num_seeds} seeds."
    )


def share_cell(shares: Sequence[float]) -> Cell:
    """Return the median share in per cent, with its interval."""
    found = median_interval(shares)
    detail = "" if math.isnan(found.low) else f"({_percent(found.low)} to {_percent(found.high)})"
    return Cell(_percent(found.median), detail)


def _percent(share: float) -> str:
    return NOT_REACHED if math.isinf(share) else f"{number(100 * share, 0)} %"


def _reference_curve(study: Study, seed: int, metric: str) -> pd.Series | None:
    for run in study.runs_of(study.spec.reference_run):
        if run.seed == seed and run.summary is not None and len(curve := run.metric(metric)):
            return curve
    return None


def _seed_text(crossings: dict[int, int | None], seed: int) -> str:
    if seed not in crossings:
        return MISSING
    crossing = crossings[seed]
    return NOT_REACHED if crossing is None else str(crossing)
