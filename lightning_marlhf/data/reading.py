"""Stored rows -> texts, one for one: prompt, responses, and which rows cannot be used.

Nothing is dropped here, so that row numbers stay those of the source; unusable rows carry the reason.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from datasets import Dataset, Features, Value
from datasets import List as ListOf

from lightning_marlhf.data.base import Stage
from lightning_marlhf.data.cache import cached_map, describe_reader
from lightning_marlhf.data.source import LINE
from lightning_marlhf.files import BLANK, parse_row
from lightning_marlhf.tasks.dialogue import Turn
from lightning_marlhf.tasks.rows import MalformedRow, PreferenceText, UnusableRow


@dataclass(frozen=True)
class TextRow:
    """One row of any data set, as text before tokenisation."""

    prompt: str
    responses: Sequence[str] = ()  # to imitate; the first is the preferred one
    rejected: str = ""  # the other response
    group: str = ""  # key of rows that must stay in one phase: a post, a dialogue's start
    unusable: str = ""  # reason for dropping the row in this stage, or ""
    remark: str = ""  # a warning about a row that is used
    reference: Any = None  # data for a judge or test, as plain data
    messages: Sequence[Turn] | None = None  # the prompt before the chat template


Reader = Callable[[Mapping[str, Any]], TextRow]
"""Turns one stored row into texts; raises `MalformedRow` or `UnusableRow`."""


@dataclass(frozen=True)
class PreferenceReader:
    """Reads comparisons for a stage.

    Attributes:
        read: The reader of the data set.
        stage: Training stage; rows may lack responses that it does not read.
        drop_ties: Drop ties in reward modelling.
    """

    read: Callable[[Mapping[str, Any]], PreferenceText]
    stage: Stage
    drop_ties: bool = False

    def __call__(self, row: Mapping[str, Any]) -> TextRow:
        """Read one comparison; the better response is the reference that judges compare with."""
        text = self.read(row)
        both = text.chosen.strip() and text.rejected.strip()  # a preference over an empty response is used, too
        return TextRow(
            prompt=text.prompt,
            responses=[text.chosen],
            rejected=text.rejected,
            group=text.group,
            unusable=self._problem_with(text),
            remark="a response is empty" if self.stage == "reward_model" and not both else "",
            reference=text.chosen,
            messages=text.messages,
        )

    def _problem_with(self, text: PreferenceText) -> str:
        if self.stage == "sft" and not text.chosen.strip():
            return "empty response"
        if self.stage == "reward_model" and text.tie and self.drop_ties:
            return "a tie"
        return ""


_FEATURES = Features(
    {
        "row": Value("int64"),
        "prompt": Value("string"),
        "responses": ListOf(Value("string")),
        "rejected": Value("string"),
        "group": Value("string"),
        "unusable": Value("string"),
        "remark": Value("string"),
        "reference": Value("string"),  # JSON, as every row may have another schema
        "messages": Value("string"),  # JSON, "" if the prompt is plain text
    }
)


def read_texts(stored: Dataset, reader: Reader, *, where: str, processes: int | None) -> Dataset:
    """Read every row of a split.

    Args:
        stored: Rows with columns, or lines of JSON.
        reader: The data set's reader, a dataclass; its settings and code are part of the cache's key.
        where: Names the split in errors.
        processes: Number of processes; None decides by the number of rows.

    Returns:
        One row for each stored one: its number (``row``), and the fields of `TextRow`.

    Raises:
        MalformedRow: a row breaks the schema, or is not JSON; names the row, counted from 1.
    """
    return cached_map(
        stored,
        _read_batch,
        settings={"reader": reader, "where": where},
        features=_FEATURES,
        key=("texts", describe_reader(reader), *_FEATURES),
        processes=processes,
        title=f"reading {where}",
    )


def _read_batch(
    columns: Mapping[str, Sequence[Any]], numbers: Sequence[int], *, reader: Reader, where: str
) -> dict[str, list[Any]]:
    names = list(columns)
    texts = [
        _read(dict(zip(names, values, strict=True)), number, reader, where)
        for number, values in zip(numbers, zip(*columns.values(), strict=True), strict=True)
    ]
    return {name: [text[name] for text in texts] for name in _FEATURES}


def _read(stored: Mapping[str, Any], number: int, reader: Reader, where: str) -> dict[str, Any]:
    try:
        text = reader(_parse(stored))
    except UnusableRow as reason:
        text = TextRow(prompt="", group=f"row {number}", unusable=str(reason))
    except MalformedRow as problem:
        raise MalformedRow(f"{where}, row {number + 1}: {problem}") from None
    as_json = {
        name: "" if getattr(text, name) is None else json.dumps(getattr(text, name))
        for name in ("reference", "messages")
    }
    return {**vars(text), **as_json, "row": number, "responses": list(text.responses)}


def _parse(stored: Mapping[str, Any]) -> Mapping[str, Any]:
    """Parse a line of JSON; rows that have columns already stay as they are."""
    if set(stored) != {LINE}:
        return stored
    if not stored[LINE].strip(BLANK):
        raise UnusableRow("blank line")
    try:
        return parse_row(stored[LINE])
    except ValueError as error:
        raise MalformedRow(str(error)) from None
