"""Preview of a run's data: counts, lengths, and the first rows as texts and tokens."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple, cast

import torch

from lightning_marlhf.data.base import RLHFDataModule, Split
from lightning_marlhf.data.encoding import count_rows
from lightning_marlhf.data.examples import Demonstration, Preference, PromptExample
from lightning_marlhf.data.mixture import Mixture
from lightning_marlhf.data.text_data import TextData
from lightning_marlhf.hub.sources import SourceError
from lightning_marlhf.hub.tokenizer import decode_responses
from lightning_marlhf.types import PreferencePairs, Prompts, SupervisedBatch

_MEASURED_ROWS = 1_000  # of data sets that do not count the lengths of their rows


@dataclass(frozen=True)
class Block:
    """A part of a row; as tokens, neighbours that the loss treats alike."""

    title: str
    text: str
    in_loss: bool


def parts(data: RLHFDataModule) -> Sequence[RLHFDataModule]:
    """Return the data sets of a mixture, or the data set itself."""
    return data.parts if isinstance(data, Mixture) else [data]


def split_of(data: RLHFDataModule) -> Split:
    """Return the split that a stage is about."""
    return "test" if data.stage == "evaluation" else "train"


def tokenizer_problem(data: RLHFDataModule) -> str | None:
    """Return the error of loading the tokenizer with its fix; None if it loads."""
    try:
        assert data.tokenizer
    except SourceError as problem:
        return str(problem)
    return None


def summary(data: RLHFDataModule, *, as_tokens: bool) -> Iterator[tuple[str, str]]:
    """Yield named lines: the source, rows by split with what was dropped, and groups that phases share."""
    text = data if isinstance(data, TextData) else None
    if text:
        yield "source", text.source
    splits: tuple[Split, ...] = ("train", "validate", "test")
    for split in splits if data.stage != "evaluation" else ("test",):
        if text:
            counts = text.row_counts(split) if as_tokens else count_rows(text.texts(split))
            yield split, f"{counts.rows:,} rows, {counts.kept:,} used"
            yield from (("", line) for line in counts.lines())
        else:
            yield split, f"{len(cast(Any, data.examples(split))):,} rows"
    if text and data.stage != "evaluation":
        groups, shared = text.shared_groups()
        yield "groups", f"{groups:,} in this phase, {shared:,} of them in other phases too"


def texts(data: RLHFDataModule, num: int) -> Iterator[dict[str, Any]]:
    """Return the first rows before tokenisation, in the order of the phase.

    Unusable rows are left out. Rows that are too long are not, as tokenizers differ.

    Returns:
        For each row its number in the stored split (``row``), ``prompt``, and by stage ``response`` or ``chosen`` and
        ``rejected``. A row with several responses to imitate comes once with each.
    """
    stored: Any = data.texts(split_of(data)) if isinstance(data, TextData) else _examples(data)
    found = (
        {"row": row["row"], "prompt": row["prompt"], **response}
        for row in stored
        if not row["unusable"]
        for response in _responses(row, data.stage)
    )
    return islice(found, num)


def left_out(data: RLHFDataModule) -> list[str]:
    """Return which rows `texts` drops or remarks on, and why."""
    return count_rows(data.texts(split_of(data))).lines() if isinstance(data, TextData) else []


def lengths(data: RLHFDataModule) -> Sequence[int]:
    """Count the tokens of each row that is used; of the first ones if that takes long."""
    split = split_of(data)
    counted = data.lengths(split)
    if counted is not None:
        return counted
    examples: Any = data.examples(split)
    batch = data.batch([examples[row] for row in range(min(len(examples), _MEASURED_ROWS))])
    if isinstance(batch, Prompts):
        return batch.attention_mask.sum(dim=1).tolist()  # type: ignore[no-any-return]
    return batch.lengths  # type: ignore[no-any-return]


def rows(
    data: RLHFDataModule, model_settings: Mapping[str, Any], num: int, *, as_tokens: bool
) -> Iterator[tuple[int, list[Block]]]:
    """Yield the first rows, with their numbers in the stored split.

    Args:
        data: One data set.
        model_settings: Settings of the LightningModule (token weights of the loss).
        num: Number of rows.
        as_tokens: Rows as they are in a batch of their own; without it, as texts.
    """
    if not as_tokens:
        for text in texts(data, num):
            row = text.pop("row")
            yield row, [Block(name, content, in_loss=False) for name, content in text.items()]
        return
    examples: Any = data.examples(split_of(data))
    for index in range(min(num, len(examples))):
        row = examples.rows[index]["row"] if isinstance(data, TextData) else index
        tokens = _token_blocks(data.batch([examples[index]]), model_settings)
        yield row, [_written(data, tokens[0] if n else None, each) for n, each in enumerate(tokens)]


def _examples(data: RLHFDataModule) -> Iterator[dict[str, Any]]:
    """Yield rows of text as `TextData.texts` does."""
    examples: Any = data.examples(split_of(data))
    for number in range(len(examples)):
        rejected = ""
        match examples[number]:
            case Demonstration(prompt=prompt, response=response):
                responses = [response]
            case Preference(prompt=prompt, chosen=chosen, rejected=rejected):
                responses = [chosen]
            case PromptExample(prompt=prompt):
                responses = []
            case other:
                kind = f"{type(data).__name__} gives {type(other).__name__}"
                raise ValueError(f"preview: expected rows of text, but {kind}")
        found = {"prompt": prompt, "responses": responses, "rejected": rejected}
        yield {"row": number, **found, "unusable": ""}


def _responses(row: Mapping[str, Any], stage: str) -> list[dict[str, str]]:
    if stage == "sft":
        return [{"response": response} for response in row["responses"]]
    if stage == "reward_model":
        return [{"chosen": row["responses"][0], "rejected": row["rejected"]}]
    return [{}]


class _Tokens(NamedTuple):
    name: str
    ids: list[int]
    use: str  # their role in the loss
    in_loss: bool


def _written(data: RLHFDataModule, before: _Tokens | None, tokens: _Tokens) -> Block:
    """Write tokens as text, special ones by name; padding as one token."""
    ids = tokens.ids[:1] if tokens.name == "padding" else tokens.ids
    prompt = before.ids if before else []
    (text,) = decode_responses(data.tokenizer, [prompt], [ids], skip_special_tokens=False)
    return Block(f"{tokens.name}: {len(tokens.ids):,} tokens, {tokens.use}", text, tokens.in_loss)


def _token_blocks(batch: SupervisedBatch | PreferencePairs | Prompts, settings: Mapping[str, Any]) -> list[_Tokens]:
    """Cut a batch of one row where the loss begins to treat tokens otherwise."""
    if isinstance(batch, Prompts):
        return [_Tokens("prompt", batch.input_ids[0].tolist(), "the policy responds", in_loss=False)]
    if isinstance(batch, PreferencePairs):
        return _pair(batch, every_token=settings.get("loss") == "tokens")
    ids, real, response = batch.input_ids[0], batch.attention_mask[0], batch.response_mask[0]
    weighted = {
        "prompt": (ids[real & ~response], settings.get("prompt_weight", 0.0)),
        "response": (ids[response], 1.0),
        "padding": (ids[~real], settings.get("padding_weight", 0.0)),
    }
    return [
        _Tokens(name, tokens.tolist(), f"weight {weight:g} in the loss", in_loss=weight > 0)
        for name, (tokens, weight) in weighted.items()
        if len(tokens)
    ]


def _pair(pairs: PreferencePairs, *, every_token: bool) -> list[_Tokens]:
    """Split where the responses diverge: the common prefix cancels in the loss."""
    chosen = pairs.chosen_ids[0][pairs.chosen_mask[0]]
    rejected = pairs.rejected_ids[0][pairs.rejected_mask[0]]
    shorter = min(len(chosen), len(rejected))
    differs = torch.ne(chosen[:shorter], rejected[:shorter]).nonzero()
    start = int(differs[0]) if len(differs) else shorter
    use = "compared at each of these tokens" if every_token else "compared at the last token"
    return [
        _Tokens("shared by both", chosen[:start].tolist(), "not compared", in_loss=False),
        _Tokens("chosen", chosen[start:].tolist(), use, in_loss=True),
        _Tokens("rejected", rejected[start:].tolist(), use, in_loss=True),
    ]
