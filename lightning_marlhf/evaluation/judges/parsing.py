"""A language model's reply -> which answer it prefers. Strict: what is not said once and clearly is not guessed."""

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

KEY = "preferred"
SCHEMA = {
    "type": "object",
    "properties": {
        "comparison": {"type": "string"},
        KEY: {"type": "string", "enum": ["A", "B", "tie"]},
    },
    "required": ["comparison", KEY],
    "additionalProperties": False,
}
"""Of the reply, for servers that can hold a model to one."""

REPAIR = (
    "This reply could not be read. Answer again with one JSON object and nothing else: "
    '{"comparison": "...", "preferred": "A" or "B" or "tie"}'
)
"""What is said after a reply without a verdict, once."""

_PREFERRED = {"a": "first", "b": "second", "tie": "tie"}
_THOUGHT = re.compile(r"\s*(?:<think(?:ing)?>|\[THINK\])")
_END_OF_THOUGHT = re.compile(r"</think(?:ing)?>|\[/THINK\]")


def read_preference(reply: str, shown: Sequence[str] = ()) -> str | None:
    """Return "first", "second" or "tie"; None where the reply holds no verdict, or several that differ.

    The verdict is a JSON object with the key "preferred", bare, in a fence or among other words. What a model thinks
    aloud is none, and an object that stands word for word in what it was ``shown`` is a quotation.

    >>> read_preference('{"comparison": "B invents a cat.", "preferred": "A"}')
    'first'
    >>> read_preference('{"preferred": "A"} or {"preferred": "B"}') is None
    True
    """
    found = {
        _PREFERRED.get(_word(each[KEY]))
        for source, each in _objects(_without_thought(reply))
        if KEY in each and not any(source in text for text in shown)
    }
    return found.pop() if len(found) == 1 else None


def _without_thought(reply: str) -> str:
    """Give what follows a thought; a thought that never ends is followed by nothing.

    A reply that is an object from end to end may quote the mark of one.
    """
    whole = next(_objects(reply), None)
    if whole and whole[0] == reply.strip():
        return reply
    if end := _END_OF_THOUGHT.search(reply):
        return reply[end.end() :]
    return "" if _THOUGHT.match(reply) else reply


def _objects(text: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the outermost JSON objects in a text, wherever they begin, each with its source."""
    decoder = json.JSONDecoder(object_pairs_hook=_without_doubles, strict=False)
    end = 0
    for brace in re.finditer(r"\{", text):
        if brace.start() < end:
            continue
        try:
            found, end = decoder.raw_decode(text, brace.start())
        except (ValueError, RecursionError):
            continue
        yield text[brace.start() : end], found


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make an object; a verdict given twice in it is none."""
    found = dict(pairs)
    if len(found) < len(pairs) and KEY in found:
        found[KEY] = None
    return found


def _word(value: object) -> str:
    return value.strip().lower() if isinstance(value, str) else ""
