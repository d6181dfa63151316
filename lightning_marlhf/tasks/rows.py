"""Shared by the row readers: preference texts, row errors, column access."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lightning_marlhf.tasks.dialogue import Turn

Row = Mapping[str, Any]


class MalformedRow(ValueError):  # noqa: N818 - names the row, as UnusableRow does
    """A row violates the schema of its data set; reading stops."""


class UnusableRow(ValueError):  # noqa: N818 - names the row; no error where rows are counted
    """A row that fits the schema but cannot be trained on; it is dropped and counted by message."""


@dataclass(frozen=True)
class PreferenceText:
    """A prompt with two responses, byte for byte as the model sees them: nothing is stripped or left out."""

    prompt: str
    chosen: str
    rejected: str
    group: str  # `fingerprint` of the part that several rows share: a post, a first turn, a question
    tie: bool = False  # people liked both responses equally; `chosen` is then the first of the row
    messages: Sequence[Turn] | None = None  # `prompt` before the chat template


def value(row: Row, column: str) -> Any:
    """Look up a column; a dot goes into a struct, as in ``info.post``."""
    found: Any = row
    for name in column.split("."):
        if not isinstance(found, Mapping) or name not in found:
            columns = ", ".join(found) if isinstance(found, Mapping) else type(found).__name__
            raise MalformedRow(f"column {column} is missing: found {columns or 'no columns'}")
        found = found[name]
    return found


def has(row: Row, column: str) -> bool:
    """Return whether a row has a column that is not null."""
    found: Any = row
    for name in column.split("."):
        found = found.get(name) if isinstance(found, Mapping) else None
    return found is not None


def require_columns(row: Row, columns: Iterable[str]) -> None:
    """Refuse a row that lacks some of its columns, and name all of them."""
    missing = [column for column in columns if not _is_there(row, column)]
    if len(missing) == 1:
        value(row, missing[0])
    if missing:
        found = ", ".join(row) or "no columns"
        raise MalformedRow(f"columns {', '.join(missing)} are missing: found {found}")


def _is_there(row: Row, column: str) -> bool:
    try:
        value(row, column)
    except MalformedRow:
        return False
    return True


def text(row: Row, column: str) -> str:
    """Look up a column that holds a text."""
    found = value(row, column)
    if not isinstance(found, str):
        raise wrong(column, "a text", found)
    return found


def texts_in(row: Row, columns: Iterable[str]) -> list[str]:
    """Return the texts of those columns that hold one."""
    found = [value(row, column) for column in columns if has(row, column)]
    return [each for each in found if isinstance(each, str)]


def optional_text(row: Row, column: str) -> str | None:
    """Look up a column that holds a text or null."""
    return None if value(row, column) is None else text(row, column)


def wrong(column: str, expected: str, got: Any) -> MalformedRow:
    """Make the error of a column that holds something else."""
    shown = repr(got)
    shown = shown if len(shown) <= 60 else f"{shown[:57]}..."
    return MalformedRow(f"column {column}: expected {expected}, got {shown}")


def require_prompt(content: str) -> None:
    """Refuse a row whose prompt would hold nothing but its frame."""
    if not content.strip():
        raise UnusableRow("empty prompt")


def refuse_leak(prompt: str, responses: Iterable[str]) -> None:
    """Refuse a row whose response follows its prompt in the prompt's own column.

    A response of one word may well be the end of a question, and one that repeats the whole prompt follows nothing.

    >>> refuse_leak("Yes or no", ["no"])
    """
    for response in map(str.strip, responses):
        before = prompt.rstrip().removesuffix(response).strip()
        if len(response.split()) > 1 and before and before != prompt.strip():
            raise UnusableRow("the prompt ends with its response")


def fingerprint(content: str) -> str:
    """Return a short name of a text that several rows share."""
    return hashlib.sha256(content.encode(errors="surrogatepass")).hexdigest()[:16]
