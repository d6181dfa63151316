"""What each row has more than the reference run and the baseline, paired by prompt within each seed."""

from collections.abc import Sequence

import pandas as pd

from lightning_marlhf.display.blocks import Block, Cell, Note, Table, Text, cells
from lightning_marlhf.display.text import MISSING, number
from lightning_marlhf.reporting.load import System
from lightning_marlhf.reporting.spec import ReportRow
from lightning_marlhf.reporting.statistics import (
    Estimate,
    Measure,
    mean_over_seeds,
    measures,
    paired_differences,
    prompt_values,
    score_measures,
    t_interval,
)


def differences(systems: Sequence[System]) -> list[Block]:
    """Return tables of the differences to the reference run, and to the baseline."""
    return [
        block
        for system in systems
        for other in dict.fromkeys((system.spec.reference_run, system.spec.baseline))
        if other is not None and len(system.spec.rows) > 1
        for block in _blocks(system, other)
    ]


def _blocks(system: System, other: str) -> list[Block]:
    label = system.spec.label_of(other)
    title = f"{system.spec.label}: difference to {label}" if system.spec.label else ""
    if not system.tested(other):
        return [Note(f"{label} has no responses to held-out prompts.")]
    found: list[Block] = [
        Text(f"{title or f'Difference to {label}'}:"),
        difference_table(system, other),
    ]
    return [*found, seed_difference_table(system, other)] if len(system.seeds) > 1 else found


def difference(system: System, stage: str, other: str, measure: Measure) -> Estimate:
    """Return stage - other: over seeds where several were tested, or else over prompts."""
    several = len(system.tested(stage)) > 1
    compare = difference_over_seeds if several else difference_over_prompts
    return compare(system, stage, other, measure)


def difference_over_prompts(system: System, stage: str, other: str, measure: Measure) -> Estimate:
    """Return stage - other with its interval over prompts, paired by prompt within each seed.

    With several seeds a prompt's difference is its mean over the seeds.
    """
    return t_interval(mean_over_seeds(_by_seed(system, stage, other, measure).values()))


def difference_over_seeds(system: System, stage: str, other: str, measure: Measure) -> Estimate:
    """Return stage - other with its spread and interval over seeds; each seed counts once."""
    return t_interval([d.mean() for d in _by_seed(system, stage, other, measure).values()])


def _by_seed(system: System, stage: str, other: str, measure: Measure) -> dict[int, pd.Series]:
    theirs = {run.seed: run for run in system.tested(other)}
    pairs = {
        run.seed: paired_differences(
            prompt_values(run.completions, measure),
            prompt_values(theirs[run.seed].completions, measure),
        )
        for run in system.tested(stage)
        if run.seed in theirs
    }
    return {seed: paired for seed, paired in pairs.items() if len(paired)}


def difference_table(system: System, other: str) -> Table:
    """Return what each row has more than the row ``other``, with intervals over the same prompts."""
    columns = [m for m in measures(system.spec.scores) if m.interval]
    rows = []
    for row in _others(system, other):
        found = [difference_over_prompts(system, row.stage, other, m) for m in columns]
        values = [e.cell(m.decimals, signed=True) for e, m in zip(found, columns, strict=True)]
        prompts = max(estimate.count for estimate in found)
        rows.append((*cells(row.label, str(prompts or MISSING)), *values))
    caption = "Mean difference (95 % Student t interval over held-out prompts), paired by prompt within each seed."
    if len(system.seeds) > 1:
        caption += (
            " A prompt's difference is its mean over seeds: this interval holds for these trained models, not for new"
            " training runs."
        )
    return Table(("Run", "Prompts", *(m.label for m in columns)), tuple(rows), caption)


def seed_difference_table(system: System, other: str) -> Table:
    """Return the score differences to ``other`` over seeds, and seed by seed."""
    rows = []
    for measure in score_measures(system.spec.scores).values():
        for row in _others(system, other):
            by_seed = _by_seed(system, row.stage, other, measure)
            estimate = difference_over_seeds(system, row.stage, other, measure)
            single = [
                Cell(number(by_seed[s].mean() if s in by_seed else None, 2, signed=True))
                for s in system.seeds
            ]
            mean = estimate.spread_cell(measure.decimals, signed=True)
            bounds = Cell(estimate.bounds(measure.decimals) or MISSING)
            rows.append((*cells(measure.label, row.label), mean, bounds, *single))
    header = ("Score", "Run", "Mean ± SD", "95 % interval", *(f"Seed {s}" for s in system.seeds))
    caption = (
        "Over training runs: each seed counts once, SD is the standard deviation over seeds, the interval is Student's"
        f" t with {len(system.seeds) - 1} degrees of freedom or fewer."
    )
    return Table(header, tuple(rows), caption, num_left=2)


def _others(system: System, other: str) -> list[ReportRow]:
    return [row for row in system.spec.rows if row.stage != other]
