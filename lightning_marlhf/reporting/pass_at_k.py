"""pass@k of programs on held-out problems, by difficulty, with the paper's gains beside ours."""

import math
import re
from collections.abc import Sequence

from lightning_marlhf.display.blocks import Block, Cell, Note, Pictures, Table
from lightning_marlhf.reporting.load import Run
from lightning_marlhf.reporting.programs import kinds_picture
from lightning_marlhf.reporting.statistics import Estimate
from lightning_marlhf.reporting.systems import INTERVALS, System, percentages
from lightning_marlhf.reporting.text import MISSING, number, with_interval

_NAME = re.compile(r"eval/pass_at_(\d+)(?:/(\w+))?")
_OVERALL = "all"
_FIRST = "1"  # of which k the paper's gains are


def blocks(systems: Sequence[System]) -> list[Block]:
    """Return the table, and what became of programs during training."""
    found: list[Block] = [_table(systems)]
    for system in systems:
        picture = kinds_picture(system.study, str(system.study.spec.programs))
        if picture is not None:
            named = Pictures((picture,), f"{system.label}: programs in the training rollouts.")
            found.append(named)
    return found


def _table(systems: Sequence[System]) -> Block:
    rows = [
        _line(system, stage=row.stage, difficulty=difficulty, k=k)
        for system in systems
        for k, difficulty in _measured(system)
        for row in system.study.spec.rows
    ]
    if not rows:
        return Note("No finished run has counted pass@k (eval/pass_at_1).")
    header = ("System", "Problems", "Run", "pass@k", "Paper (%)", "Ours (%)", "Paper: gain", "Gain")
    caption = (
        "Share of held-out problems solved by one of k programs, unbiased. Gain: over PPO, relative. With one seed, the"
        f" interval is a bootstrap over problems. {INTERVALS}"
    )
    return Table((*header, "Seeds"), tuple(rows), caption, num_left=4, name="pass_at_k")


def _measured(system: System) -> list[tuple[str, str]]:
    """Return the values of k, and the difficulties, that some run has: overall first."""
    names = {
        n
        for row in system.study.spec.rows
        for r in system.study.runs_of(row.stage)
        for n in _metrics(r)
    }
    return sorted(names, key=lambda name: (int(name[0]), name[1] != _OVERALL, name[1]))


def _metrics(run: Run) -> dict[tuple[str, str], float]:
    metrics = run.summary.metrics if run.summary else {}
    return {
        (match[1], match[2] or _OVERALL): value
        for name, value in metrics.items()
        if (match := _NAME.fullmatch(name))
    }


def _line(system: System, *, stage: str, difficulty: str, k: str) -> tuple[Cell, ...]:
    study = system.study
    ours = _estimate(study.runs_of(stage), k, difficulty)
    reference = study.spec.reference_run
    gains = (Cell(""), Cell(""))
    if reference is not None and stage not in (reference, study.spec.baseline):
        base = _estimate(study.runs_of(reference), k, difficulty).mean
        gain = 100 * (ours.mean / base - 1) if base else math.nan
        text = number(gain, 0, signed=True)
        known = k == _FIRST
        paper = system.paper("pass_at_1_gain" if known else "", difficulty, decimals=0, unit=" %")
        gains = (paper, Cell(text if text == MISSING else f"{text} %"))
    return (
        Cell(system.label),
        Cell(difficulty),
        Cell(study.spec.label(stage)),
        Cell(f"pass@{k}"),
        system.paper(f"pass_at_{k}", f"{stage}/{difficulty}", decimals=1),
        with_interval(ours, 1),
        *gains,
        Cell(str(sum((k, difficulty) in _metrics(run) for run in study.runs_of(stage)))),
    )


def _estimate(runs: Sequence[Run], k: str, difficulty: str) -> Estimate:
    """Return pass@k in per cent: over seeds; of one seed with the interval over problems that it left."""
    having = [run for run in runs if (k, difficulty) in _metrics(run)]
    shares = [_metrics(run)[k, difficulty] for run in having]
    if len(having) != 1 or having[0].summary is None:
        return percentages(shares)
    tail = "" if difficulty == _OVERALL else f"/{difficulty}"
    metrics = having[0].summary.metrics
    return percentages(
        shares, [metrics.get(f"eval/pass_at_{k}_{end}{tail}") for end in ("low", "high")]
    )
