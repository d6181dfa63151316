"""How many updates each row needs to reach the reference run's final score."""

import pandas as pd

from lightning_marlhf.reporting.blocks import Cell, Table, cells
from lightning_marlhf.reporting.curves import final_level, score_metric, updates_to_reach
from lightning_marlhf.reporting.load import Study
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


def parity_table(study: Study) -> Table | None:
    """Return the updates to parity, per row, score and seed; None where no row has any."""
    rows = []
    for key, label in study.spec.scores.items():
        metric = score_metric(key, logged=study.logged)
        for row in study.spec.trained_rows:
            crossings = updates_to_parity(study, row.stage, metric)
            if crossings:
                share = _mean_share(study, crossings, metric)
                single = [_seed_text(crossings, seed) for seed in study.seeds]
                rows.append((*cells(label, row.label), Cell(share), *cells(*single)))
    if not rows or study.spec.reference_run is None:
        return None
    name = study.spec.label(study.spec.reference_run)
    seeds = [f"Seed {seed}" for seed in study.seeds] if len(study.seeds) > 1 else ["Updates"]
    return Table(
        header=("Score", "Row", f"Share of {name}'s updates", *seeds),
        rows=tuple(rows),
        caption=f"First update at which the smoothed training curve is at or above the level on"
        f" which {name}'s smoothed curve ends (same seed). {name} itself may cross it early.",
        num_left=2,
    )


def _reference_curve(study: Study, seed: int, metric: str) -> pd.Series | None:
    for run in study.runs_of(study.spec.reference_run):
        if run.seed == seed and run.summary is not None and len(curve := run.metric(metric)):
            return curve
    return None


def _mean_share(study: Study, crossings: dict[int, int | None], metric: str) -> str:
    """Return the mean over seeds of crossing / the reference run's last update, in per cent."""
    shares = []
    for seed, crossing in crossings.items():
        reference = _reference_curve(study, seed, metric)
        if crossing is None or reference is None:
            return MISSING
        shares.append(crossing / reference.index[-1])
    return f"{number(100 * sum(shares) / len(shares), 0)} %"


def _seed_text(crossings: dict[int, int | None], seed: int) -> str:
    if seed not in crossings:
        return MISSING
    crossing = crossings[seed]
    return NOT_REACHED if crossing is None else str(crossing)
