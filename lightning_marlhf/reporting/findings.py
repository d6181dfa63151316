"""The report's first lines: what came out, in sentences."""

from lightning_marlhf.reporting.load import Study
from lightning_marlhf.reporting.statistics import Estimate, Measure, measures
from lightning_marlhf.reporting.tables import difference_on_posts, difference_over_seeds
from lightning_marlhf.reporting.text import interval, number


def findings(study: Study) -> tuple[str, ...]:
    """Return one sentence for each row: its first score against the baseline and the reference."""
    if not study.spec.scores:
        return ()
    measure = measures(study.spec.scores)[0]
    sentences = []
    for row in study.spec.trained_rows:
        others = [study.spec.baseline, study.spec.reference_run]
        parts = [
            part
            for other in others
            if other not in (None, row.stage)
            and (part := _difference(study, row.stage, str(other), measure))
        ]
        if parts:
            sentences.append(f"{row.label}: {measure.label} " + "; ".join(parts) + ".")
    return tuple(sentences)


def _difference(study: Study, stage: str, other: str, measure: Measure) -> str:
    several = len(study.seeds) > 1
    compare = difference_over_seeds if several else difference_on_posts
    estimate = compare(study, stage, other, measure)
    if estimate.count == 0:
        return ""
    over = f"{estimate.count} seeds" if several else f"{estimate.count} posts"
    mean = number(estimate.mean, measure.decimals, signed=True)
    return f"{mean} against {study.spec.label(other)} ({_certainty(estimate, measure, over)})"


def _certainty(estimate: Estimate, measure: Measure, over: str) -> str:
    bounds = interval(estimate, measure.decimals)
    if not bounds:
        return f"{over}, no interval"
    includes_zero = estimate.low <= 0 <= estimate.high
    zero = ", which includes 0" if includes_zero else ""
    return f"95 % interval {bounds[1:-1]} over {over}{zero}"
