"""Files of prompts with their answers, as users have them: ours, or rows that somebody else wrote."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning_marlhf.records import Completion, read_jsonl

Row = dict[str, Any]
_TYPES = {"prompt": str, "response": str, "ended": bool}


def read_rows(path: Path) -> list[Row]:
    """Read rows with `prompt` and `response`, and perhaps `ended`; all else stays as it is.

    Raises:
        ValueError: there are none, or one has another form.
    """
    rows = list(read_jsonl(path))
    if not rows:
        raise ValueError(f"no completions in {path}")
    for number, row in enumerate(rows, start=1):
        for key, kind in _TYPES.items():
            if not isinstance(row.get(key, key == "ended"), kind):
                expected = "true or false" if kind is bool else "a text"
                raise ValueError(f"{path}: row {number}: expected `{key}` with {expected}")
    return rows


def read_answers(path: Path) -> list[Completion]:
    """Read rows as completions; of what a row does not say, nothing is known.

    Raises:
        ValueError: there are none, or one has another form.
    """
    return [_to_completion(row, n, path) for n, row in enumerate(read_rows(path))]


def _to_completion(row: Mapping[str, Any], number: int, path: Path) -> Completion:
    unknown = {
        "sample_id": str(number),
        "model": str(path),
        "seed": 0,
        "step": None,
        "num_tokens": 0,
        "ended": True,
    }
    try:
        return Completion.from_dict({**unknown, **row})
    except ValueError as error:
        raise ValueError(f"{path}: row {number + 1}: {error}") from None
