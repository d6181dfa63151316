"""Policies compared by the scores of their answers: means over prompts, spread, and paired differences."""

from collections.abc import Mapping, Sequence

import numpy as np

from lightning_marlhf.evaluation import bootstrap
from lightning_marlhf.records import MeanInterval, ScoreSummary

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)

ByPrompt = Mapping[str, Sequence[float]]
"""Scores of the answers to each prompt."""


def summarize_scores(
    scores: ByPrompt, first: ByPrompt | None = None, *, resamples: int = 10_000, seed: int = 0
) -> ScoreSummary:
    """Say how one scorer's numbers are spread over a policy's answers.

    Args:
        scores: of the policy's answers, by prompt.
        first: of the policy that it is compared with; None: of none.
        resamples: draws for the intervals.
        seed: of the draws.

    Raises:
        ValueError: there are no scores, or one is NaN or infinite.
    """
    answers = np.array([x for each in scores.values() for x in each], dtype=float)
    if not len(answers) or not np.isfinite(answers).all():
        got = "NaN or infinite ones" if len(answers) else "none"
        raise ValueError(f"expected finite scores, got {got}")
    ours, theirs = _means(scores), _means(first or {})
    differences = {prompt: ours[prompt] - theirs[prompt] for prompt in ours if prompt in theirs}
    quantiles = np.quantile(answers, QUANTILES).tolist()
    return ScoreSummary(
        mean=mean_interval(ours, resamples=resamples, seed=seed),
        spread=float(answers.std(ddof=1)) if len(answers) > 1 else 0.0,
        quantiles={f"{q:g}": x for q, x in zip(QUANTILES, quantiles, strict=True)},
        difference=mean_interval(differences, resamples=resamples, seed=seed)
        if differences
        else None,
        num_paired=len(differences),
    )


def mean_interval(values: Mapping[str, float], *, resamples: int, seed: int) -> MeanInterval:
    """Give the mean over prompts, with its interval where there are several."""
    numbers = np.array(list(values.values()))
    low = high = None
    if len(values) > 1:
        low, high = bootstrap.mean_interval(numbers, list(values), resamples=resamples, seed=seed)
    return MeanInterval(float(numbers.mean()), low, high)


def _means(scores: ByPrompt) -> dict[str, float]:
    return {prompt: float(np.mean(each)) for prompt, each in scores.items()}
