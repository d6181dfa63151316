"""Reward models as users name them, and the scores that they give to texts."""

import math
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from lightning_marlhf.display.text import printable
from lightning_marlhf.evaluation.pairs import kept_ids
from lightning_marlhf.inference.loading import Exporter, model_folder, split_label
from lightning_marlhf.records import Completion
from lightning_marlhf.rollout.reward_reading import Answered
from lightning_marlhf.rollout.scoring import RewardModelScorer


def answered(row: Completion) -> Answered:
    """Give what a reward model may be shown of a completion."""
    return Answered(row.prompt, row.response, row.ended, row.messages, kept_ids(row))


@contextmanager
def reward_model(
    model: str, *, name: str, device: str, dtype: str, chat_template: bool, exporter: Exporter
) -> Iterator[RewardModelScorer]:
    """Load a reward model, and point out a chat template that plain prompts are not shown in."""
    source, label = split_label(model)
    with model_folder(source, exporter=exporter) as folder:
        scorer = RewardModelScorer(
            folder.source, name=name, dtype=dtype, chat_template=chat_template, label=label
        )
        scorer.load(device)
        if scorer.tokenizer.chat_template and not chat_template:
            sys.stderr.write(printable(f"{model} has a chat template; --chat-template uses it\n"))
        yield scorer


def score_rows(
    scorer: RewardModelScorer, rows: Sequence[Answered], *, numbers: Sequence[int]
) -> list[float]:
    """Score some rows in one pass.

    Args:
        scorer: is loaded.
        rows: what is scored.
        numbers: of the rows, as an error names them.

    Raises:
        ValueError: a row is too long for the reward model, or its score is no number.
    """
    try:
        scores: list[float] = scorer.score_texts(*zip(*rows, strict=True)).tolist()
    except ValueError as error:
        raise ValueError(f"rows {min(numbers)} to {max(numbers)}: {error}") from error
    for number, score in zip(numbers, scores, strict=True):
        if not math.isfinite(score):
            raise ValueError(f"the score of row {number} is {score}: try --dtype float32")
    return scores
