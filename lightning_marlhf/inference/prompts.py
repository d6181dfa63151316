"""Reads prompts from arguments, files or standard input, as plain text or in a data set's format."""

import os
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning_marlhf.display.text import printable
from lightning_marlhf.files import decode_line, read_jsonl, read_lines
from lightning_marlhf.inference.options import CHAT, TEXT
from lightning_marlhf.tasks import dialogue, prompts
from lightning_marlhf.tasks.dialogue import Turn
from lightning_marlhf.tasks.messages import split_dialogue
from lightning_marlhf.tasks.rows import MalformedRow, UnusableRow


@dataclass(frozen=True)
class Prompt:
    """One prompt."""

    sample_id: str  # the row's own, or its number; its sampling is seeded by it
    text: str  # in its format; with messages, for display only
    reference: Any = None  # ground truth for judges
    messages: Sequence[Turn] | None = None  # the dialogue, which the model's chat template renders


def read_prompts(texts: Sequence[str], file: Path | None, format: str) -> list[Prompt]:
    """Read the prompts of a command line, a file, or standard input.

    Args:
        texts: From the command line.
        file: A `.jsonl`: rows with ``prompt`` (and ``sample_id``, ``reference``), or rows of the format's data set as
            the Hub has them; any other file: one prompt per line.
        format: One of `options.FORMATS`.

    Raises:
        ValueError: There are none, texts and a file are given, or a row of a `.jsonl` has none.
    """
    if texts and file:
        raise ValueError("prompts on the command line and --prompts FILE: expected one of them")
    if file is not None and file.name.endswith((".jsonl", ".jsonl.gz")):
        found = _read_rows(file, format)
    else:
        lines = (line for line in _read_lines(texts, file) if line.strip())
        found = [_to_prompt(str(number), line, format) for number, line in enumerate(lines)]
    if not found:
        raise ValueError(f"no prompts in {file or 'standard input'}")
    return found


def _read_lines(texts: Sequence[str], file: Path | None) -> Sequence[str]:
    if texts:
        return [
            decode_line(os.fsencode(text), first=False, where=f"prompt {number}")
            for number, text in enumerate(texts, start=1)
        ]
    if file is not None:
        return [line.text for line in read_lines(file)]
    if sys.stdin.isatty():
        raise ValueError("no prompts: expected them as arguments, in --prompts FILE, or on standard input")
    return [
        decode_line(line, first=number == 1, where=f"standard input: row {number}")
        for number, line in enumerate(sys.stdin.buffer, start=1)
    ]


def _read_rows(file: Path, format: str) -> list[Prompt]:
    found: list[Prompt] = []
    left_out: dict[str, list[int]] = {}
    for number, row in enumerate(read_jsonl(file)):
        try:
            found.append(_read_row(row, number, format))
        except UnusableRow as error:
            left_out.setdefault(str(error), []).append(number + 1)
        except MalformedRow as error:
            raise ValueError(f"{file}: row {number + 1}: {error}") from None
    names = Counter(prompt.sample_id for prompt in found)
    if found and names.most_common(1)[0][1] > 1:
        raise ValueError(f"{file}: expected different `sample_id`s, got {names.most_common(1)[0][0]} twice")
    for why, rows in left_out.items():
        sys.stderr.write(printable(f"{file}: rows left out: {len(rows)} ({why}; the first is {rows[0]})\n"))
    return found


def _read_row(row: Mapping[str, Any], number: int, format: str) -> Prompt:
    name = str(row.get("sample_id", number))
    if "prompt" not in row and format in prompts.READERS:
        reference = prompts.REFERENCES[format](row) if format in prompts.REFERENCES else None
        return Prompt(name, prompts.READERS[format](row), reference)
    text = row.get("prompt")
    if format == CHAT and not isinstance(text, str):
        turns, _ = split_dialogue(row, prompt="prompt", chosen="chosen", responses=())
        return Prompt(name, dialogue.to_plain(turns), row.get("reference"), turns)
    if not isinstance(text, str) or not text.strip():
        raise MalformedRow("expected a `prompt` with a text" + _hint(row, format))
    return _to_prompt(name, text, format, row.get("reference"))


def _to_prompt(name: str, text: str, format: str, reference: Any = None) -> Prompt:
    if format == CHAT:
        return Prompt(name, text, reference, dialogue.to_turns(text))
    return Prompt(name, text if format == TEXT else prompts.frame(text, format), reference)


def _hint(row: Mapping[str, Any], format: str) -> str:
    """Return a hint on the format that reads the row."""
    if isinstance(row.get("prompt"), list) or "messages" in row or "conversations" in row:
        return f"; --format {CHAT} reads messages"
    fitting = (name for name in prompts.READERS if format not in prompts.READERS and _reads(name, row))
    return next((f"; --format {name} reads such rows" for name in fitting), "")


def _reads(format: str, row: Mapping[str, Any]) -> bool:
    try:
        with suppress(UnusableRow):
            prompts.READERS[format](row)
    except MalformedRow:
        return False
    return True
