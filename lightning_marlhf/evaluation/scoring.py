"""Reward models as users name them, and the scores that they give to texts."""

import math
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch

from lightning_marlhf.display.text import printable
from lightning_marlhf.evaluation.pairs import kept_ids
from lightning_marlhf.inference.model_folder import model_folder
from lightning_marlhf.models.network_factory import NetworkFactory
from lightning_marlhf.records import Completion
from lightning_marlhf.rollout.reward_reading import Answered
from lightning_marlhf.rollout.scoring import RewardModelScorer


def answered(row: Completion) -> Answered:
    """Give what a reward model may be shown of a completion."""
    return Answered(row.prompt, row.response, row.ended, row.messages, kept_ids(row))


def split_label(model: str) -> tuple[str, str | None]:
    """Take a reward model's label off its name: "MODEL#LABEL" names the label whose logit is the score.

    >>> split_label("owner/name#POSITIVE"), split_label("owner/name")
    (('owner/name', 'POSITIVE'), ('owner/name', None))
    """
    source, mark, label = model.rpartition("#")
    return (source, label) if mark and not Path(model).exists() else (model, None)


@contextmanager
def reward_model(
    model: str, *, name: str, device: str, dtype: str, chat_template: bool
) -> Iterator[RewardModelScorer]:
    """Load a reward model, and point out a chat template that plain prompts are not shown in."""
    source, label = split_label(model)
    with model_folder(source) as folder:
        scorer = RewardModelScorer(
            folder.source, name=name, dtype=dtype, chat_template=chat_template, label=label
        )
        scorer.load(NetworkFactory(torch.device(device)))
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
