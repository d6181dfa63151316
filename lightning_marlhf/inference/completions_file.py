"""Files of prompts with their answers, as users have them: ours, or rows that somebody else wrote."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning_marlhf.files import read_jsonl
from lightning_marlhf.records import Completion
from lightning_marlhf.tasks.dialogue import to_plain
from lightning_marlhf.tasks.messages import split_dialogue

Row = dict[str, Any]
_IDS = ("prompt_ids", "response_ids")
_TYPES: Mapping[str, tuple[Any, str]] = {
    "prompt": (str | list, "a text or messages"),
    "response": (str, "a text"),
    "ended": (bool, "true or false"),
}


def read_rows(path: Path) -> list[Row]:
    """Read rows with `prompt` (a text or messages) and `response`, and perhaps `ended`; all else stays as it is.

    Raises:
        ValueError: there are none, or one has another form.
    """
    rows = list(read_jsonl(path))
    if not rows:
        raise ValueError(f"no completions in {path}")
    for number, row in enumerate(rows, start=1):
        for key, (kind, expected) in _TYPES.items():
            if not isinstance(row.get(key, key == "ended"), kind):
                raise ValueError(f"{path}: row {number}: expected `{key}` with {expected}")
    return rows


def read_answers(path: Path) -> list[Completion]:
    """Read rows as completions; of what a row does not say, nothing is known.

    Raises:
        ValueError: there are none, or one has another form.
    """
    return [to_completion(row, n, path) for n, row in enumerate(read_rows(path))]


def to_completion(row: Mapping[str, Any], number: int, path: Path | None) -> Completion:
    """Make a completion of row ``number`` (from 0) of a file.

    Raises:
        ValueError: its messages or tokens have another form.
    """
    unknown = {
        "sample_id": str(number),
        "model": str(path),
        "seed": 0,
        "step": None,
        "num_tokens": 0,
        "ended": True,
    }
    try:
        known = {**row, **_read_dialogue(row), **{name: _read_ids(row, name) for name in _IDS}}
        return Completion.from_dict({**unknown, **known})
    except ValueError as error:
        raise ValueError(f"{path}: row {number + 1}: {error}") from None


def _read_dialogue(row: Mapping[str, Any]) -> Row:
    """Read the messages that are the prompt, or that a chat template wrote as the prompt."""
    is_text = isinstance(row["prompt"], str)
    found = row.get("messages") if is_text else row["prompt"]
    if found is None:
        return {}
    turns, _ = split_dialogue({"prompt": found}, prompt="prompt", chosen="", answers=())
    return {"messages": turns, "prompt": row["prompt"] if is_text else to_plain(turns)}


def _read_ids(row: Mapping[str, Any], name: str) -> list[int] | None:
    found = row.get(name)
    if found is not None and not (isinstance(found, list) and all(type(i) is int for i in found)):
        raise ValueError(f"expected `{name}` with whole numbers")
    return found
