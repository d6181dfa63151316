"""Prompt templates of language-model judges (versioned files in `prompts/`), and the parser of their replies.

Reading is strict: ambiguous replies are invalid, never guessed.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning_marlhf.evaluation.criteria import CRITERIA, Task
from lightning_marlhf.evaluation.pairs import digest

_FOLDER = Path(__file__).parent / "prompts"
_PLACEHOLDER = re.compile(r"\{\{(mark|prompt|first|second)\}\}")

KEY = "preferred"
SCHEMA = {
    "type": "object",
    "properties": {"comparison": {"type": "string"}, KEY: {"type": "string", "enum": ["A", "B", "tie"]}},
    "required": ["comparison", KEY],
    "additionalProperties": False,
}
"""JSON schema of the reply, for servers with structured output."""

REPAIR = (
    "This reply could not be read. Answer again with one JSON object and nothing else: "
    '{"comparison": "...", "preferred": "A" or "B" or "tie"}'
)
"""The message after a reply without a verdict; it is sent once."""

_PREFERRED = {"a": "first", "b": "second", "tie": "tie"}
_OBJECT_START = re.compile(r"\{(?=[ \t\n\r]*[\"}])")  # every JSON object begins like this
_REASONING = re.compile(r"\s*(?:<think(?:ing)?>|\[THINK\])")
_END_OF_REASONING = re.compile(r"</think(?:ing)?>|\[/THINK\]")


@dataclass(frozen=True)
class Instructions:
    """Instructions with their placeholders."""

    version: str  # the file's name and a hash of its content, as in the records
    text: str  # text with ``{{mark}}``, ``{{prompt}}``, ``{{first}}`` and ``{{second}}``

    def fill(self, prompt: str, first: str, second: str) -> str:
        """Fill in a prompt and two responses in one pass, so that nothing in them is taken for a placeholder.

        The mark around them is a hash of all three: a response cannot contain it, and so cannot end its own part.
        """
        texts = {"prompt": prompt.strip(), "first": first.strip(), "second": second.strip()}
        texts["mark"] = digest(self.version, prompt, first, second)
        return _PLACEHOLDER.sub(lambda place: texts[place[1]], self.text)


def load(task: Task) -> Instructions:
    """Read the instructions of a task."""
    name = CRITERIA[task].instructions
    text = (_FOLDER / f"{name}.txt").read_text(encoding="utf-8")
    return Instructions(f"{name}@{digest(text)}", text)


def read_preference(reply: str, shown: Sequence[str] = ()) -> str | None:
    """Return "first", "second" or "tie"; None if the reply holds no verdict, or several that differ.

    The verdict is a JSON object with the key "preferred", bare, in a fence or among other words. Reasoning before the
    reply holds none, and an object that occurs verbatim in what the model was ``shown`` is a quotation.

    >>> read_preference('{"comparison": "B invents a cat.", "preferred": "A"}')
    'first'
    >>> read_preference('{"preferred": "A"} or {"preferred": "B"}') is None
    True
    """
    found = {
        _PREFERRED.get(value.strip().lower()) if isinstance(value := each[KEY], str) else None
        for source, each in _objects(_strip_reasoning(reply))
        if KEY in each and not any(source in text for text in shown)
    }
    return found.pop() if len(found) == 1 else None


def _strip_reasoning(reply: str) -> str:
    """Return what follows the reasoning; nothing follows reasoning that never ends.

    A reply that is an object from end to end may quote the end mark of reasoning.
    """
    first = next(_objects(reply), None)
    if first and first[0] == reply.strip():
        return reply
    if end := _END_OF_REASONING.search(reply):
        return reply[end.end() :]
    return "" if _REASONING.match(reply) else reply


def _objects(text: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the outermost JSON objects in a text, wherever they begin, each with its source."""
    decoder = json.JSONDecoder(object_pairs_hook=_reject_duplicate_verdicts, strict=False)
    end = 0
    for brace in _OBJECT_START.finditer(text):
        if brace.start() < end:
            continue
        try:
            found, end = decoder.raw_decode(text, brace.start())
        except (ValueError, RecursionError):
            continue
        yield text[brace.start() : end], found


def _reject_duplicate_verdicts(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Build an object; a duplicate verdict is invalid."""
    found = dict(pairs)
    if len(found) < len(pairs) and KEY in found:
        found[KEY] = None
    return found
