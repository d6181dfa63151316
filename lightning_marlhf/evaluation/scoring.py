"""Loads reward models by name, scores completions, and describes the distribution of scores."""

import math
import statistics
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

from lightning_marlhf.display.text import printable
from lightning_marlhf.evaluation.pairs import kept_ids
from lightning_marlhf.inference.loading import Exporter, model_folder, split_label
from lightning_marlhf.models.network_factory import NetworkFactory
from lightning_marlhf.records import Completion
from lightning_marlhf.rollout.reward_reading import Answered
from lightning_marlhf.rollout.scoring import RewardModelScorer

_BINS, _BAR_WIDTH = 10, 40


def answered(row: Completion) -> Answered:
    """Return what a reward model may be shown of a completion."""
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
        chat_template: Show it dialogues in its own chat template.
        exporter: Makes the folder of a checkpoint that is named as the model.
    """
    source, label = split_label(model)
    with model_folder(source, exporter=exporter) as folder:
        scorer = RewardModelScorer(folder.source, name=name, dtype=dtype, chat_template=chat_template, label=label)
        scorer.load(NetworkFactory(torch.device(device)))
        if scorer.tokenizer.chat_template and not chat_template:
            sys.stderr.write(printable(f"{model} has a chat template; --chat-template uses it\n"))
        yield scorer


def score_rows(scorer: RewardModelScorer, rows: Sequence[Answered], *, numbers: Sequence[int]) -> list[float]:
    """Score some rows in one forward pass.

    Args:
        scorer: A loaded reward model.
        rows: Prompts and their responses.
        numbers: Numbers of the rows, for errors.

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
