"""The report's tables: results, paired differences, seeds, reward model, updates to parity."""

from collections.abc import Sequence

import pandas as pd

from lightning_marlhf.display.blocks import Cell, Table, cells
from lightning_marlhf.reporting.load import Run, Study
from lightning_marlhf.reporting.old_spec import RowSpec
from lightning_marlhf.reporting.statistics import (
    Estimate,
    Measure,
    mean_over_seeds,
    measures,
    paired_differences,
    post_values,
    score_measures,
    t_interval,
)
from lightning_marlhf.reporting.text import MISSING, interval, number, with_interval, with_spread

_POSTS = "95 % Student t interval over held-out posts"


def answered(runs: Sequence[Run]) -> list[Run]:
    """Return the runs that have answers to the held-out prompts."""
    return [run for run in runs if run.completions]


def result_table(study: Study) -> Table:
    """Return every row's scores, KL and length: mean and interval, or spread over seeds."""
    columns = measures(study.spec.scores)
    several = len(study.seeds) > 1
    rows = []
    for row in study.spec.rows:
        runs = answered(study.runs_of(row.stage))
        posts = max((len({c.prompt for c in run.completions}) for run in runs), default=0)
        counts = cells(str(posts or MISSING), *([str(len(runs))] if several else []))
        values = [_seeds_cell(runs, m) if several else _posts_cell(runs, m) for m in columns]
        rows.append((Cell(row.label), *counts, *values))
    caption = f"Mean ({_POSTS}). "
    if several:
        caption = "Mean over seeds ± standard deviation over seeds of the seeds' means. "
    return Table(
        header=("Row", "Posts", *(["Seeds"] if several else []), *(m.label for m in columns)),
        rows=tuple(rows),
        caption=caption + "KL to the reference policy, summed over the response; length with EOS.",
    )


def seed_table(study: Study) -> Table:
    """Return every row's numbers seed by seed, with intervals over posts."""
    columns = measures(study.spec.scores)
    rows = tuple(
        (*cells(row.label, str(run.seed)), *(_posts_cell([run], m) for m in columns))
        for row in study.spec.rows
        for run in study.runs_of(row.stage)
    )
    header = ("Row", "Seed", *(m.label for m in columns))
    return Table(header=header, rows=rows, caption=f"Mean ({_POSTS}).")


def _posts_cell(runs: Sequence[Run], measure: Measure) -> Cell:
    values = post_values(runs[0].completions, measure) if runs else ()
    estimate = t_interval(values)
    if not measure.interval:
        return Cell(number(estimate.mean, measure.decimals))
    return with_interval(estimate, measure.decimals)


def _seeds_cell(runs: Sequence[Run], measure: Measure) -> Cell:
    means = [values.mean() for run in runs if len(values := post_values(run.completions, measure))]
    return with_spread(t_interval(means), measure.decimals)


def difference_on_posts(study: Study, row: str, other: str, measure: Measure) -> Estimate:
    """Return row - other with its interval over posts, paired by post within each seed.

    With several seeds a post's difference is its mean over the seeds.
    """
    return t_interval(mean_over_seeds(_differences(study, row, other, measure).values()))


def difference_over_seeds(study: Study, row: str, other: str, measure: Measure) -> Estimate:
    """Return row - other with its spread and interval over seeds; each seed counts once."""
    seeds = _differences(study, row, other, measure).values()
    return t_interval([differences.mean() for differences in seeds])


def _differences(study: Study, row: str, other: str, measure: Measure) -> dict[int, pd.Series]:
    theirs = {run.seed: run for run in answered(study.runs_of(other))}
    pairs = {
        run.seed: paired_differences(
            post_values(run.completions, measure),
            post_values(theirs[run.seed].completions, measure),
        )
        for run in answered(study.runs_of(row))
        if run.seed in theirs
    }
    return {seed: differences for seed, differences in pairs.items() if len(differences)}


def difference_table(study: Study, other: str) -> Table:
    """Return what each row has more than the row ``other``, with intervals over the same posts."""
    columns = [m for m in measures(study.spec.scores) if m.interval]
    rows = []
    for row in _others(study, other):
        estimates = [difference_on_posts(study, row.stage, other, m) for m in columns]
        posts = max(estimate.count for estimate in estimates)
        values = [
            with_interval(estimate, m.decimals, signed=True)
            for estimate, m in zip(estimates, columns, strict=True)
        ]
        rows.append((*cells(row.label, str(posts or MISSING)), *values))
    caption = f"Mean difference ({_POSTS}), paired by post within each seed."
    if len(study.seeds) > 1:
        caption += (
            " A post's difference is its mean over seeds: this interval holds for these trained"
            " models, not for new training runs."
        )
    return Table(("Row", "Posts", *(m.label for m in columns)), tuple(rows), caption)


def seed_difference_table(study: Study, other: str) -> Table:
    """Return the score differences to ``other`` over seeds, and seed by seed."""
    rows = []
    for measure in score_measures(study.spec.scores).values():
        for row in _others(study, other):
            by_seed = _differences(study, row.stage, other, measure)
            estimate = difference_over_seeds(study, row.stage, other, measure)
            single = [
                Cell(number(by_seed[s].mean() if s in by_seed else None, 2, signed=True))
                for s in study.seeds
            ]
            mean = with_spread(estimate, measure.decimals, signed=True)
            bounds = Cell(interval(estimate, measure.decimals) or MISSING)
            rows.append((*cells(measure.label, row.label), mean, bounds, *single))
    header = ("Score", "Row", "Mean ± SD", "95 % interval", *(f"Seed {s}" for s in study.seeds))
    caption = (
        "Over training runs: each seed counts once, SD is the standard deviation over seeds, the"
        f" interval is Student's t with {len(study.seeds) - 1} degrees of freedom or fewer."
    )
    return Table(header, tuple(rows), caption, num_left=2)


def _others(study: Study, other: str) -> list[RowSpec]:
    return [row for row in study.spec.rows if row.stage != other]


def reward_model_table(runs: Sequence[Run]) -> Table | None:
    """Return the reward model's accuracy on held-out noisy pairs; None where no run has it."""
    rows = []
    for run in runs:
        metrics = run.summary.metrics if run.summary else {}
        if "eval/accuracy" not in metrics:
            continue
        accuracy = metrics["eval/accuracy"]
        best = metrics.get("eval/best_possible_accuracy")
        ratio = accuracy / best if best else None
        rows.append(cells(str(run.seed), number(accuracy, 3), number(best, 3), number(ratio, 3)))
    if not rows:
        return None
    return Table(
        header=("Seed", "Accuracy", "Best possible", "Accuracy / best possible"),
        rows=tuple(rows),
        caption="Held-out pairs with noisy labels. Best possible: E[max(p, 1 - p)], the accuracy of"
        " a judge that knows the gold score behind the labels.",
    )
