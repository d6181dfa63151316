"""Policies compared by the scores of their responses: means over prompts, spread, and paired differences."""

from collections.abc import Mapping, Sequence

import numpy as np

from lightning_marlhf.evaluation import bootstrap
from lightning_marlhf.evaluation.scored_folder import scores_by_prompt
from lightning_marlhf.records import Completion, MeanInterval, PolicyScores, ScoreSummary

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)

ByPrompt = Mapping[str, Sequence[float]]
"""Scores of the responses to each prompt."""


def compare_policies(
    completions: Mapping[str, Sequence[Completion]], labels: Mapping[str, str], scorers: Sequence[str]
) -> list[PolicyScores]:
    """Compare each policy with the first, by each scorer.

    Args:
        completions: Scored completions by the policy's label, the first policy first.
        labels: Label of each source: a model, or a file of completions.
        scorers: Names of the scores.
    """
    by_prompt = {label: scores_by_prompt(rows, scorers) for label, rows in completions.items()}
    first = next(iter(by_prompt))

    def scores(label: str, scorer: str) -> ByPrompt:
        return {prompt: found[scorer] for prompt, found in by_prompt[label].items()}

    return [
        PolicyScores(
            label=label,
            source=source,
            num_prompts=len(by_prompt[label]),
            num_responses=len(completions[label]),
            scores={
                scorer: summarize_scores(scores(label, scorer), None if label == first else scores(first, scorer))
                for scorer in scorers
            },
        )
        for source, label in labels.items()
    ]


def summarize_scores(
    scores: ByPrompt, first: ByPrompt | None = None, *, resamples: int = 10_000, seed: int = 0
) -> ScoreSummary:
    """Summarise the scores of one policy's responses by one scorer.

    Args:
        scores: Scores of the policy's responses, by prompt.
        first: Scores of the policy that it is compared with; None: no comparison.
        resamples: Number of bootstrap resamples.
        seed: Seed of the bootstrap.

    Raises:
        ValueError: There are no scores, or one is NaN or infinite.
    """
    every = np.array([x for each in scores.values() for x in each], dtype=float)
    if not len(every) or not np.isfinite(every).all():
        got = "NaN or infinite ones" if len(every) else "none"
        raise ValueError(f"expected finite scores, got {got}")
    ours, theirs = _means(scores), _means(first or {})
    differences = {prompt: ours[prompt] - theirs[prompt] for prompt in ours if prompt in theirs}
    quantiles = np.quantile(every, QUANTILES).tolist()
    return ScoreSummary(
        mean=mean_interval(ours, resamples=resamples, seed=seed),
        spread=float(every.std(ddof=1)) if len(every) > 1 else 0.0,
        quantiles={f"{q:g}": x for q, x in zip(QUANTILES, quantiles, strict=True)},
        difference=mean_interval(differences, resamples=resamples, seed=seed) if differences else None,
        num_paired=len(differences),
    )


def mean_interval(values: Mapping[str, float], *, resamples: int, seed: int) -> MeanInterval:
    """Return the mean over prompts, with its interval where there are several prompts."""
    numbers = np.array(list(values.values()))
    low = high = None
    if len(values) > 1:
        low, high = bootstrap.mean_interval(numbers, list(values), resamples=resamples, seed=seed)
    return MeanInterval(float(numbers.mean()), low, high)


def _means(scores: ByPrompt) -> dict[str, float]:
    return {prompt: float(np.mean(each)) for prompt, each in scores.items()}
