"""Loads reward models by name, scores completions, and compares policies by their scores."""

import math
import statistics
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
import torch

from lightning_marlhf.display.text import printable
from lightning_marlhf.evaluation import bootstrap
from lightning_marlhf.evaluation.pairs import kept_ids
from lightning_marlhf.evaluation.scored_folder import scores_by_prompt
from lightning_marlhf.inference.loading import Exporter, model_folder, split_label
from lightning_marlhf.models.network_factory import NetworkFactory
from lightning_marlhf.records import Completion, MeanInterval, PolicyScores, ScoreSummary
from lightning_marlhf.rollout.reward_model_input import Answered
from lightning_marlhf.rollout.scoring import RewardModelScorer

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
_BINS, _BAR_WIDTH = 10, 40

ByPrompt = Mapping[str, Sequence[float]]
"""Scores of the responses to each prompt."""


def answered(row: Completion) -> Answered:
    """Return the fields of a completion that a reward model reads."""
    return Answered(row.prompt, row.response, row.ended, row.messages, kept_ids(row))


@contextmanager
def reward_model(
    model: str, *, name: str, device: str, dtype: str, chat_template: bool, exporter: Exporter
) -> Iterator[RewardModelScorer]:
    """Load a reward model; report on standard error a chat template that is not used.

    Args:
        model: Reward model as the user names it; "MODEL#LABEL" names the label whose logit is the score.
        name: Name of its score.
        device: Device to load it on.
        dtype: Data type of its weights.
        chat_template: Whether it reads dialogues in its own chat template.
        exporter: Exports a checkpoint that is named as the model.
    """
    source, label = split_label(model)
    with model_folder(source, exporter=exporter) as folder:
        scorer = RewardModelScorer(folder.source, name=name, dtype=dtype, chat_template=chat_template, label=label)
        scorer.load(NetworkFactory(torch.device(device)))
        if scorer.tokenizer.chat_template and not chat_template:
            sys.stderr.write(printable(f"{model} has a chat template; --chat-template uses it\n"))
        yield scorer


def score_rows(scorer: RewardModelScorer, rows: Sequence[Answered], *, numbers: Sequence[int]) -> list[float]:
    """Score some rows in one forward pass; ``numbers`` are theirs, for errors.

    Raises:
        ValueError: A row is too long for the reward model, or its score is NaN or infinite.
    """
    try:
        scores: list[float] = scorer.score_texts(*zip(*rows, strict=True)).tolist()
    except ValueError as error:
        raise ValueError(f"rows {min(numbers)} to {max(numbers)}: {error}") from error
    for number, score in zip(numbers, scores, strict=True):
        if not math.isfinite(score):
            raise ValueError(f"the score of row {number} is {score}: try --dtype float32")
    return scores


def describe_scores(scores: Sequence[float], name: str) -> Iterator[str]:
    """Yield lines on the distribution of scores: mean, standard deviation (n - 1), extremes, and a histogram."""
    spread = statistics.stdev(scores) if len(scores) > 1 else 0.0
    low, high = min(scores), max(scores)
    yield (
        f"{name}: mean {statistics.fmean(scores):.4g}, standard deviation {spread:.4g}, "
        f"median {statistics.median(scores):.4g}, from {low:.4g} to {high:.4g}, n {len(scores)}"
    )
    if low == high:
        return
    width = (high - low) / _BINS
    counts = [0] * _BINS
    for score in scores:
        counts[min(int((score - low) / width), _BINS - 1)] += 1
    for number, count in enumerate(counts):
        bar = "#" * round(_BAR_WIDTH * count / max(counts))
        yield f"{low + number * width:10.3f} {count:6} {bar}".rstrip()


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
    """Return the mean over prompts, with its interval if there are several prompts."""
    numbers = np.array(list(values.values()))
    low = high = None
    if len(values) > 1:
        low, high = bootstrap.mean_interval(numbers, list(values), resamples=resamples, seed=seed)
    return MeanInterval(float(numbers.mean()), low, high)


def _means(scores: ByPrompt) -> dict[str, float]:
    return {prompt: float(np.mean(each)) for prompt, each in scores.items()}
