"""The first rows of a stage: as texts, and as tokens with what the loss makes of them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from lightning_marlhf.data.base import RLHFDataModule, Split, Stage
from lightning_marlhf.data.encoding import count_rows
from lightning_marlhf.data.examples import Demonstration, Preference, Question
from lightning_marlhf.data.mixture import Mixture
from lightning_marlhf.data.text import TextData
from lightning_marlhf.hub.sources import SourceError
from lightning_marlhf.types import PreferencePairs, Prompts, SupervisedBatch

_MEASURED_ROWS = 1_000  # of data whose lengths nobody has counted


@dataclass(frozen=True)
class Block:
    """Neighbouring tokens of a row that the loss treats alike."""

    name: str
    ids: Sequence[int]
    use: str  # what the loss does with them
    learnt: bool


def parts(data: RLHFDataModule) -> Sequence[RLHFDataModule]:
    """Give the data sets of a mixture, or the data set itself."""
    return data.parts if isinstance(data, Mixture) else [data]


def split_of(data: RLHFDataModule) -> Split:
    """Tell which split a stage is about."""
    return "test" if data.stage == "evaluation" else "train"


def tokenizer_problem(data: RLHFDataModule) -> str | None:
    """Say why the tokenizer cannot be had, and what to do; None where it can."""
    try:
        assert data.tokenizer
    except SourceError as problem:
        return str(problem)
    return None


def texts(data: RLHFDataModule, num: int) -> Iterator[dict[str, Any]]:
    """Give the first rows before tokenisation, in the order of the phase.

    Rows that are no text to learn from are left out; what is dropped for its length is not, as tokenizers differ.

    Returns:
        For each row its number in the stored split (``row``), ``prompt``, and by stage ``response`` or ``chosen`` and
        ``rejected``. A row with several answers to imitate comes once with each.
    """
    rows: Any = data.texts(split_of(data)) if isinstance(data, TextData) else _examples(data)
    found = (
        {"row": row["row"], "prompt": row["prompt"], **answers}
        for row in rows
        if not row["unusable"]
        for answers in _answers(row, data.stage)
    )
    return islice(found, num)


def left_out(data: RLHFDataModule) -> list[str]:
    """Say which rows `texts` leaves out or finds odd, and why."""
    split = split_of(data)
    return count_rows(data.texts(split)).lines() if isinstance(data, TextData) else []


def row_of(data: RLHFDataModule, index: int) -> int:
    """Give the number in the stored split of a row that is used."""
    if not isinstance(data, TextData):
        return index
    return int(data.examples(split_of(data)).rows[index]["row"])


def blocks(data: RLHFDataModule, index: int, model_settings: Mapping[str, Any]) -> list[Block]:
    """Give the tokens of a row that is used, as they are in a batch of their own.

    Args:
        data: one data set.
        index: of the row among those of the stage that are used.
        model_settings: of the LightningModule: how it weighs tokens.
    """
    batch = data.batch([data.examples(split_of(data))[index]])
    if isinstance(batch, SupervisedBatch):
        return _demonstration(batch, model_settings)
    if isinstance(batch, PreferencePairs):
        return _preference(batch, model_settings)
    return [Block("prompt", batch.input_ids[0].tolist(), "the policy answers it", learnt=False)]


def lengths(data: RLHFDataModule) -> Sequence[int]:
    """Count the tokens of each row that is used; of the first ones where that takes long."""
    split = split_of(data)
    counted = data.lengths(split)
    if counted is not None:
        return counted
    examples: Any = data.examples(split)
    batch = data.batch([examples[row] for row in range(min(len(examples), _MEASURED_ROWS))])
    if isinstance(batch, Prompts):
        return batch.attention_mask.sum(dim=1).tolist()  # type: ignore[no-any-return]
    return batch.lengths  # type: ignore[no-any-return]


def _examples(data: RLHFDataModule) -> Iterator[dict[str, Any]]:
    """Give rows of text as `TextData.texts` does."""
    examples: Any = data.examples(split_of(data))
    for number in range(len(examples)):
        match examples[number]:
            case Demonstration(prompt=prompt, response=response):
                answers, rejected = [response], ""
            case Preference(prompt=prompt, chosen=chosen, rejected=rejected):
                answers = [chosen]
            case Question(prompt=prompt):
                answers, rejected = [], ""
            case other:
                kind = f"{type(data).__name__} gives {type(other).__name__}"
                raise ValueError(f"preview: expected rows of text, but {kind}")
        yield {
            "row": number,
            "prompt": prompt,
            "answers": answers,
            "rejected": rejected,
            "unusable": "",
        }


def _answers(row: Mapping[str, Any], stage: Stage) -> list[dict[str, str]]:
    if stage == "sft":
        return [{"response": answer} for answer in row["answers"]]
    if stage == "reward_model":
        return [{"chosen": row["answers"][0], "rejected": row["rejected"]}]
    return [{}]


def _demonstration(batch: SupervisedBatch, settings: Mapping[str, Any]) -> list[Block]:
    ids, real, response = batch.input_ids[0], batch.attention_mask[0], batch.response_mask[0]
    parts_and_weights = {
        "prompt": (ids[real & ~response], settings.get("prompt_weight", 0.0)),
        "response": (ids[response], 1.0),
        "padding": (ids[~real], settings.get("padding_weight", 0.0)),
    }
    return [
        Block(name, tokens.tolist(), f"weight {weight:g} in the loss", learnt=weight > 0)
        for name, (tokens, weight) in parts_and_weights.items()
        if len(tokens)
    ]


def _preference(pairs: PreferencePairs, settings: Mapping[str, Any]) -> list[Block]:
    """Cut where the answers part: what both share tells the loss nothing."""
    chosen, rejected = (
        ids[0][mask[0]]
        for ids, mask in (
            (pairs.chosen_ids, pairs.chosen_mask),
            (pairs.rejected_ids, pairs.rejected_mask),
        )
    )
    start = _first_difference(chosen, rejected)
    every = settings.get("loss") == "tokens"
    use = "compared at each of these tokens" if every else "compared at the last token"
    return [
        Block("shared by both", chosen[:start].tolist(), "not compared", learnt=False),
        Block("chosen", chosen[start:].tolist(), use, learnt=True),
        Block("rejected", rejected[start:].tolist(), use, learnt=True),
    ]


def _first_difference(first: Tensor, second: Tensor) -> int:
    shorter = min(len(first), len(second))
    differs = torch.ne(first[:shorter], second[:shorter]).nonzero()
    return int(differs[0]) if len(differs) else shorter
