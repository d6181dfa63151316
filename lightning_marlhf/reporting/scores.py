"""Results: summary sentences, scores on held-out prompts, paired differences, reward-model accuracy."""

import math
from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lightning_marlhf.display.document import Block, Bullets, Cell, Note, Pictures, Table, Text, cells
from lightning_marlhf.display.style import in_style
from lightning_marlhf.display.text import MISSING, number
from lightning_marlhf.reporting.layout import (
    INTERVALS,
    Line,
    make_table,
    paper_cell,
    paper_value,
    row_styles,
    to_picture,
)
from lightning_marlhf.reporting.load import Run, System
from lightning_marlhf.reporting.spec import ReportRow
from lightning_marlhf.reporting.statistics import (
    Estimate,
    Measure,
    gain_cell,
    mean_over_seeds,
    measures,
    over_seeds,
    paired_differences,
    prompt_values,
    score_measures,
    seed_means,
    t_interval,
)

_PANEL_WIDTH, _LINE_HEIGHT = 3.6, 0.42
_OVER_PROMPTS = "95 % Student t interval over held-out prompts"
_NOT_TESTED = (
    "None of these runs has been tested: there are no responses to held-out prompts, so there are no scores to compare."
    " `python -m lightning_marlhf test`, or --test_after_fit=true in training, makes them. What is shown below"
    " comes from training."
)
_ONE_SEED = (
    "One seed: the intervals are over prompts and exclude the variance between training runs (run several seeds)."
)


def scores(systems: Sequence[System]) -> list[Block]:
    """Return findings, the table of scores, and the same seed by seed."""
    if not any(system.tested(row.stage) for system in systems for row in system.spec.rows):
        reported = any(system.spec.reported is not None for system in systems)
        table = score_table(systems) if reported else None
        return [Note(_NOT_TESTED), *([table] if table else [])]
    found: list[Block | None] = []
    if sentences := [sentence for system in systems for sentence in findings(system)]:
        found.append(Bullets(tuple(sentences)))
    found.append(score_table(systems))
    if any(len(system.seeds) > 1 for system in systems):
        found += [Text("Seed by seed:"), seed_table(systems)]
    else:
        found.append(Note(_ONE_SEED))
    return [block for block in found if block is not None]


def score_table(systems: Sequence[System]) -> Table | None:
    """Return a line for each row: its scores, KL and length, with the paper's numbers if available."""
    lines: list[Line] = [(system, _score_line(system, row)) for system in systems for row in system.spec.rows]
    first = systems[0].spec
    if first.label and first.scores:
        score, *_ = first.scores.values()
        name = first.label_of(first.reference_run) if first.reference_run else "none"
        caption = (
            f"Means over held-out prompts. Gain and difference: {score}, against {name}; the gain is the difference"
            f" over the size of {name}'s mean. {INTERVALS}"
        )
    elif len(systems[0].seeds) > 1:
        caption = "Mean over seeds ± standard deviation over seeds of the seeds' means."
    else:
        caption = f"Mean ({_OVER_PROMPTS})."
    caption += " KL to the reference policy, summed over the response; length with EOS."
    return make_table(lines, caption, name="scores")


def _score_line(system: System, row: ReportRow) -> dict[str, Cell]:
    runs = system.tested(row.stage)
    prompts = max((len({c.prompt for c in run.completions}) for run in runs), default=0)
    line = {"Run": Cell(row.label), "Prompts": Cell(str(prompts or MISSING))}
    if system.spec.label or len(system.seeds) > 1:
        line["Seeds"] = Cell(str(len(runs)))
    trained_on = next(iter(system.spec.scores), None)
    for n, measure in enumerate(measures(system.spec.scores)):
        compared = n == 0 and trained_on is not None and bool(system.spec.label)
        if compared:
            line[f"Paper: {measure.label}"] = paper_cell(system, str(trained_on), row.stage, decimals=measure.decimals)
        line[measure.label] = _value(system, runs, measure)
        if compared:
            line |= _gain(system, row.stage, measure)
    return line


def _value(system: System, runs: Sequence[Run], measure: Measure) -> Cell:
    """Return a mean; with its interval, but of a study of several seeds with its spread, since differences follow."""
    if system.spec.label or len(system.seeds) == 1:
        found = over_seeds(runs, measure)
        return found.cell(measure.decimals) if measure.interval else Cell(found.cell(0).value)
    return seed_means(runs, measure).spread_cell(measure.decimals)


def _gain(system: System, stage: str, measure: Measure) -> dict[str, Cell]:
    """Return the paper's gain over the reference run, ours, and our difference."""
    reference = system.spec.reference_run
    if reference is None or stage in (reference, system.spec.baseline):
        return dict.fromkeys(("Paper: gain", "Gain", "Difference"), Cell(""))
    found = difference(system, stage, reference, measure)
    base = over_seeds(system.tested(reference), measure).mean
    return {
        "Paper: gain": paper_cell(system, "gain", stage, decimals=0, unit=" %"),
        "Gain": gain_cell(found.mean, base),
        "Difference": found.cell(measure.decimals, signed=True),
    }


def seed_table(systems: Sequence[System]) -> Table | None:
    """Return every row's numbers seed by seed, with intervals over prompts."""
    lines: list[Line] = []
    for system in systems:
        for row in system.spec.rows:
            for run in system.runs_of(row.stage):
                line = {"Run": Cell(row.label), "Seed": Cell(str(run.seed))}
                for m in measures(system.spec.scores):
                    cell = t_interval(prompt_values(run.completions, m)).cell(m.decimals)
                    line[m.label] = cell if m.interval else Cell(cell.value)
                lines.append((system, line))
    return make_table(lines, f"Mean ({_OVER_PROMPTS}).")


def findings(system: System) -> list[str]:
    """Return a sentence for each trained row: its first score against the baseline and the reference run."""
    if not system.spec.scores:
        return []
    measure = measures(system.spec.scores)[0]
    sentences = []
    for row in system.spec.trained_rows:
        others = (system.spec.baseline, system.spec.reference_run)
        parts = [
            f"{found.cell(measure.decimals, signed=True).value} against {system.spec.label_of(other)}"
            f" ({_certainty(found, measure, several=len(system.tested(row.stage)) > 1)})"
            for other in others
            if other not in (None, row.stage) and (found := difference(system, row.stage, str(other), measure)).count
        ]
        if parts:
            name = f"{system.spec.label}, {row.label}" if system.spec.label else row.label
            sentences.append(f"{name}: {measure.label} {'; '.join(parts)}.")
    return sentences


def _certainty(found: Estimate, measure: Measure, *, several: bool) -> str:
    over = f"{found.count} {'seeds' if several else 'prompts'}"
    bounds = found.bounds(measure.decimals)
    if not bounds:
        return f"{over}, no interval"
    zero = ", which includes 0" if found.low <= 0 <= found.high else ""
    return f"95 % interval {bounds[1:-1]} over {over}{zero}"


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
    found: list[Block] = [Text(f"{title or f'Difference to {label}'}:"), difference_table(system, other)]
    return [*found, seed_difference_table(system, other)] if len(system.seeds) > 1 else found


def difference(system: System, stage: str, other: str, measure: Measure) -> Estimate:
    """Return stage - other: over seeds if several were tested, or else over prompts."""
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
            prompt_values(run.completions, measure), prompt_values(theirs[run.seed].completions, measure)
        )
        for run in system.tested(stage)
        if run.seed in theirs
    }
    return {seed: paired for seed, paired in pairs.items() if len(paired)}


def difference_table(system: System, other: str) -> Table:
    """Return each row's difference to the row ``other``, with intervals over the same prompts."""
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
            single = [Cell(number(by_seed[s].mean() if s in by_seed else None, 2, signed=True)) for s in system.seeds]
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


def score_picture(systems: Sequence[System]) -> list[Block]:
    """Return all runs' scores as points with intervals, a panel for each score."""
    measured = score_measures(systems[0].spec.scores)
    lines = [(system, row) for system in systems for row in system.spec.rows]
    if not measured or not any(system.tested(row.stage) for system, row in lines):
        return [Note("No run has responded to held-out prompts yet.")]
    with in_style():
        size = (_PANEL_WIDTH * len(measured) + 1.8, _LINE_HEIGHT * len(lines) + 1.5)
        figure = Figure(figsize=size, layout="constrained")
        panels = figure.subplots(1, len(measured), squeeze=False, sharey=True)[0]
        for n, (axes, (key, measure)) in enumerate(zip(panels, measured.items(), strict=True)):
            axes.set_title(measure.label)
            _draw_points(axes, lines, measure, reported=key if n == 0 else None)
        several = len(systems) > 1
        names = [f"{s.spec.label}: {row.label}" if several else row.label for s, row in lines]
        panels[0].set_yticks(range(len(lines)), names)
        panels[0].invert_yaxis()  # all panels share it
        picture = to_picture(figure, name="scores", alt="Scores of all runs", wide=True)
    caption = "Bars: 95 % intervals, over seeds, if there are several."
    if any(system.spec.reported is not None for system in systems):
        caption += " Hollow diamonds: the paper's numbers, if we have them."
    return [Pictures((picture,), caption)]


def _draw_points(
    axes: Axes, lines: Sequence[tuple[System, ReportRow]], measure: Measure, *, reported: str | None
) -> None:
    """Draw one score; ``reported`` names it if the paper reports it."""
    for height, (system, row) in enumerate(lines):
        style = row_styles(system.spec)[row.stage]
        found = over_seeds(system.tested(row.stage), measure)
        if found.count:
            half = 0.0 if math.isnan(found.low) else found.mean - found.low
            axes.errorbar(found.mean, height, xerr=half, fmt=style.marker, color=style.color, markersize=7)
        paper = None if reported is None else paper_value(system, reported, row.stage)
        if paper is not None:
            axes.plot(paper, height, marker="D", color="#222222", fillstyle="none", markersize=8)
    axes.grid(visible=False, axis="y")
    axes.set_ylim(-0.6, len(lines) - 0.4)


def reward_model(systems: Sequence[System]) -> list[Block]:
    """Return the reward models' accuracy on held-out pairs; nothing of systems that train none."""
    lines: list[Line] = []
    for system in systems:
        for run in system.runs_of(system.spec.reward_model):
            accuracy = run.results.get("eval/accuracy")
            best = run.results.get("eval/best_possible_accuracy")
            if accuracy is not None:
                line = {
                    "Seed": Cell(str(run.seed)),
                    "Accuracy": Cell(number(accuracy, 3)),
                    "Best possible": Cell(number(best, 3)),
                    "Accuracy / best possible": Cell(number(accuracy / best if best else None, 3)),
                }
                lines.append((system, line))
    caption = (
        "Held-out pairs. Best possible, for noisy labels: E[max(p, 1 - p)], the accuracy of a judge that knows"
        " the gold score behind the labels."
    )
    table = make_table(lines, caption)
    if table is None and any(system.spec.reward_model for system in systems):
        return [Note("No reward-model stage has left its accuracy (eval/accuracy).")]
    return [] if table is None else [table]
