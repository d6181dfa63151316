"""Policies compared by the scores of their answers: means over prompts, spread, and paired differences."""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from lightning_marlhf.evaluation.pass_at_k import bootstrap_interval
from lightning_marlhf.records import MeanInterval, ScoreSummary

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)

ByPrompt = Mapping[str, Sequence[float]]
"""Scores of the answers to each prompt."""


def summarize_scores(
    scores: ByPrompt, first: ByPrompt | None = None, *, resamples: int = 1_000, seed: int = 0
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
    answers = torch.tensor([x for each in scores.values() for x in each], dtype=torch.float64)
    if not len(answers) or not answers.isfinite().all():
        raise ValueError(
            "expected finite scores, got " + ("NaN or infinite ones" if len(answers) else "none")
        )
    means = _means(scores)
    paired = [prompt for prompt in scores if prompt in first] if first is not None else []
    difference = None
    if first is not None and paired:
        theirs = _means({prompt: first[prompt] for prompt in paired})
        ours = _means({prompt: scores[prompt] for prompt in paired})
        difference = mean_interval(ours - theirs, resamples=resamples, seed=seed)
    quantiles = answers.quantile(torch.tensor(QUANTILES, dtype=answers.dtype)).tolist()
    return ScoreSummary(
        mean=mean_interval(means, resamples=resamples, seed=seed),
        spread=answers.std().item() if len(answers) > 1 else 0.0,
        quantiles={f"{q:g}": x for q, x in zip(QUANTILES, quantiles, strict=True)},
        difference=difference,
        num_paired=len(paired),
    )


def mean_interval(
    values: Float[Tensor, " prompt"], *, resamples: int = 1_000, seed: int = 0
) -> MeanInterval:
    """Give the mean over prompts, with the ends of its interval of 95 % by the bootstrap."""
    low, high = bootstrap_interval(values.unsqueeze(1), resamples=resamples, seed=seed).flatten()
    return MeanInterval(values.mean().item(), low.item(), high.item())


def _means(scores: ByPrompt) -> Float[Tensor, " prompt"]:
    means = [sum(each) / len(each) for each in scores.values()]
    return torch.tensor(means, dtype=torch.float64)
