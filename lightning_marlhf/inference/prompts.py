"""Prompts as users give them: typed, from a file or from standard input, in the format of a data set."""

import argparse
import os
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning_marlhf.display.text import printable
from lightning_marlhf.files import decode_line, read_jsonl, read_lines
from lightning_marlhf.tasks import dialogue, prompts
from lightning_marlhf.tasks.dialogue import Turn
from lightning_marlhf.tasks.messages import split_dialogue
from lightning_marlhf.tasks.rows import MalformedRow, UnusableRow

TEXT, CHAT = "text", "chat"
FORMATS = (TEXT, CHAT, *prompts.READERS)


@dataclass(frozen=True)
class Prompt:
    """One prompt."""

    sample_id: str  # the row's own, or its number; seeds its sampling
    text: str  # as the model sees it, but for a chat template
    reference: Any = None  # what a judge may compare with
    messages: Sequence[Turn] | None = None  # what the model's chat template writes as the prompt


def add_format_option(parser: argparse.ArgumentParser) -> None:
    """Add `--format`."""
    parser.add_argument(
        "--format",
        default=TEXT,
        choices=FORMATS,
        help="write prompts as this data set does, unless they are so already; chat: the model's own "
        "chat template; text (default): as given",
    )


def read_prompts(given: Sequence[str], file: Path | None, form: str) -> list[Prompt]:
    """Take the prompts from the command line, a file, or standard input.

    Args:
        given: on the command line.
        file: `.jsonl`: rows with ``prompt`` (and ``sample_id``, ``reference``), or rows of the format's data set as
            the Hub has them; any other: a prompt a line.
        form: one of FORMATS.

    Raises:
        ValueError: there are none, or a row of a .jsonl has none.
    """
    if given and file:
        raise ValueError("prompts on the command line and --file: give one of them")
    if file is not None and file.name.endswith((".jsonl", ".jsonl.gz")):
        found = _read_rows(file, form)
    else:
        texts = (text for text in _texts(given, file) if text.strip())
        found = [_prompt(str(number), text, form) for number, text in enumerate(texts)]
    if not found:
        raise ValueError(f"no prompts in {file or 'standard input'}")
    return found


def _texts(given: Sequence[str], file: Path | None) -> Sequence[str]:
    if given:
        return [
            decode_line(os.fsencode(text), first=False, where=f"prompt {number}")
            for number, text in enumerate(given, start=1)
        ]
    if file is not None:
        return [line.text for line in read_lines(file)]
    if sys.stdin.isatty():
        raise ValueError("no prompts: give them as arguments, with --file, or on standard input")
    return [
        decode_line(line, first=number == 1, where=f"standard input: row {number}")
        for number, line in enumerate(sys.stdin.buffer, start=1)
    ]


def _frame(text: str, form: str) -> str:
    return text if form in (TEXT, CHAT) else prompts.frame(text, form)


def _read_rows(file: Path, form: str) -> list[Prompt]:
    found: list[Prompt] = []
    left_out: dict[str, list[int]] = {}
    for number, row in enumerate(read_jsonl(file)):
        try:
            found.append(_read_row(row, number, form))
        except UnusableRow as error:
            left_out.setdefault(str(error), []).append(number + 1)
        except MalformedRow as error:
            raise ValueError(f"{file}: row {number + 1}: {error}") from None
    names = Counter(prompt.sample_id for prompt in found)
    if found and names.most_common(1)[0][1] > 1:
        raise ValueError(
            f"{file}: expected different `sample_id`s, got {names.most_common(1)[0][0]} twice"
        )
    for why, rows in left_out.items():
        sys.stderr.write(
            printable(f"{file}: rows left out: {len(rows)} ({why}; the first is {rows[0]})\n")
        )
    return found


def _read_row(row: Mapping[str, Any], number: int, form: str) -> Prompt:
    name = str(row.get("sample_id", number))
    if "prompt" not in row and form in prompts.READERS:
        reference = prompts.REFERENCES[form](row) if form in prompts.REFERENCES else None
        return Prompt(name, prompts.READERS[form](row), reference)
    text = row.get("prompt")
    if form == CHAT and not isinstance(text, str):
        turns, _ = split_dialogue(row, prompt="prompt", chosen="chosen", answers=())
        return Prompt(name, dialogue.to_plain(turns), row.get("reference"), turns)
    if not isinstance(text, str) or not text.strip():
        raise MalformedRow("expected a `prompt` with a text" + _hint(row, form))
    return _prompt(name, text, form, row.get("reference"))


def _prompt(name: str, text: str, form: str, reference: Any = None) -> Prompt:
    turns = dialogue.to_turns(text) if form == CHAT else None
    return Prompt(name, _frame(text, form), reference, turns)


def _hint(row: Mapping[str, Any], form: str) -> str:
    """Say which format reads the row, where one does."""
    if isinstance(row.get("prompt"), list) or "messages" in row or "conversations" in row:
        return f"; --format {CHAT} reads messages"
    fitting = (
        name for name in prompts.READERS if form not in prompts.READERS and _reads(name, row)
    )
    return next((f"; --format {name} reads such rows" for name in fitting), "")


def _reads(form: str, row: Mapping[str, Any]) -> bool:
    try:
        with suppress(UnusableRow):
            prompts.READERS[form](row)
    except MalformedRow:
        return False
    return True


def batches(rows: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    """Cut ``rows`` into batches of ``size``."""
    return (rows[start : start + size] for start in range(0, len(rows), size))
