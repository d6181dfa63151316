"""Chat messages as data sets store them -> turns of one form; and which of them are the prompt, which the response.

Whatever a row holds that is no dialogue of texts makes that row unusable, never the data set.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from lightning_marlhf.tasks.dialogue import Turn, to_turns
from lightning_marlhf.tasks.rows import Row, UnusableRow, has, refuse_leak, texts_in, value

_ROLE_KEYS = ("role", "from", "author")
_CONTENT_KEYS = ("content", "value", "text")
_ROLES = {
    **{name: name for name in ("system", "user", "assistant")},
    **dict.fromkeys(("human", "prompter"), "user"),
    **dict.fromkeys(("gpt", "chatgpt", "bot", "model"), "assistant"),
}
_TOOL_KEYS = ("tool_calls", "function_call", "tool_call_id")
_TEXT_PARTS = ("text", "input_text", "output_text")
_FULL_DIALOGUES = ("messages", "conversations", "conversation")  # where there is no prompt column
_LONGEST_NAME = 40  # characters of a row's own names that a reason repeats


def read_messages(found: Any, column: str) -> list[Turn]:
    """Read a list of messages.

    Roles and contents may have OpenAI's names or ShareGPT's (``from``, ``value``; "human", "gpt"); the texts of a
    content in parts are joined.

    Args:
        found: The column's value: messages, or a list of each of their keys, as `datasets` stores a `Sequence`.
        column: Name of the column.

    Raises:
        UnusableRow: it holds something else, or a message that is no text of the system, a user or an assistant.
    """
    if isinstance(found, Mapping) and all(isinstance(each, list) for each in found.values()):
        found = [dict(zip(found, each, strict=False)) for each in zip(*found.values(), strict=False)]
    if not isinstance(found, Sequence) or isinstance(found, str):
        raise UnusableRow(f"column {column} is {_kind(found)}: expected a text or a list of messages")
    if not found:
        raise UnusableRow(f"column {column} holds no messages")
    return [_read_turn(message) for message in found]


def split_dialogue(row: Row, *, prompt: str, chosen: str, responses: Sequence[str]) -> tuple[list[Turn], list[str]]:
    """Find the prompt of a row and its responses.

    The prompt is its own column (or ``messages``), or the common context of the responses if these are full
    dialogues. A prompt that ends with the response loses it.

    Args:
        row: A row with messages, or with texts that are single messages.
        prompt: Column of the prompt.
        chosen: Column of the preferred response, whose dialogue has the prompt where no other column has.
        responses: Columns of the responses that are wanted: none, ``chosen``, or ``chosen`` and another one.

    Returns:
        The turns of the prompt, of which the assistant's is not the last, and the contents of the responses.

    Raises:
        MalformedRow: a column is missing.
        UnusableRow: see `read_messages`; or prompt and responses do not belong together.
    """
    column = next((each for each in (prompt, *_FULL_DIALOGUES) if has(row, each)), None)
    told = [] if column is None else _turns(value(row, column), column, speaker="user")
    if _ends_with_assistant(told) and tuple(responses) == (chosen,) and not has(row, chosen):
        return _require_question(told[:-1]), [told[-1]["content"]]
    if not told and not responses and not has(row, chosen):
        return _require_question(_turns(value(row, prompt), prompt, speaker="user")), []
    wanted = responses if told or responses else (chosen,)
    dialogues = [_read_response(row, each, full=not told) for each in wanted]
    contents = [response for _, response in dialogues]
    if _ends_with_assistant(told) and (not wanted or told[-1]["content"].strip() in map(str.strip, contents)):
        told = told[:-1]
    prompts = [_join(told, context) for context, _ in dialogues] or [told]
    if any(each != prompts[0] for each in prompts):
        raise UnusableRow("chosen and rejected have different prompts")
    asked = _require_question(prompts[0] or _turns(value(row, prompt), prompt, speaker="user"))
    refuse_leak(asked[-1]["content"], contents or texts_in(row, [chosen]))
    return asked, contents if responses else []


def _read_response(row: Row, column: str, *, full: bool) -> tuple[list[Turn], str]:
    """Split a response column into its context and the response."""
    found = value(row, column)
    if full and isinstance(found, str):
        found = to_turns(found)
    turns = _turns(found, column, speaker="assistant")
    if not _ends_with_assistant(turns):
        raise UnusableRow(f"column {column} does not end with a message of the assistant")
    return turns[:-1], turns[-1]["content"]


def _turns(found: Any, column: str, *, speaker: str) -> list[Turn]:
    """Read messages, or a text, which is one message."""
    is_text = isinstance(found, str)
    return read_messages([{"role": speaker, "content": found}] if is_text else found, column)


def _ends_with_assistant(turns: Sequence[Turn]) -> bool:
    return bool(turns) and turns[-1]["role"] == "assistant"


def _join(told: list[Turn], context: list[Turn]) -> list[Turn]:
    """Take the longer of two prompts of which one is the beginning or the end of the other."""
    short, long = sorted((told, context), key=len)
    if short and short not in (long[: len(short)], long[-len(short) :]):
        raise UnusableRow("a response holds another dialogue than the prompt")
    return long


def _require_question(turns: list[Turn]) -> list[Turn]:
    if not turns:
        raise UnusableRow("empty prompt")
    if _ends_with_assistant(turns):
        raise UnusableRow("the prompt ends with a message of the assistant")
    return turns


def _read_turn(message: Any) -> Turn:
    if not isinstance(message, Mapping):
        raise UnusableRow(f"a message is {_kind(message)}: expected role and content")
    if any(message.get(key) for key in _TOOL_KEYS):
        raise UnusableRow("a message calls a tool")
    role, content = _first(message, _ROLE_KEYS), _first(message, _CONTENT_KEYS)
    known = _ROLES.get(role.lower()) if isinstance(role, str) else None
    if known is None:
        shown = str(role)[:_LONGEST_NAME]
        raise UnusableRow(f"role {shown} is unknown: expected system, user or assistant")
    return {"role": known, "content": _read_content(content, known)}


def _first(message: Mapping[str, Any], keys: Sequence[str]) -> Any:
    """Take the first of several columns that the message has and that is not null."""
    known = [message[key] for key in keys if key in message]
    if not known:
        found = ", ".join(map(str, message))[:_LONGEST_NAME] or "nothing"
        raise UnusableRow(f"a message has {found}: expected role and content, or from and value (rename them)")
    return next((each for each in known if each is not None), None)


def _read_content(content: Any, role: str) -> str:
    if isinstance(content, Sequence) and not isinstance(content, str):
        content = "".join(map(_read_part, content))
    if not isinstance(content, str):
        raise UnusableRow(f"the content of a message is {_kind(content)} ({role})")
    if not content.strip():
        raise UnusableRow(f"a message is blank ({role})")
    return content


def _read_part(part: Any) -> str:
    if isinstance(part, str):
        return part
    kind = part.get("type", "text") if isinstance(part, Mapping) else type(part).__name__
    content = part.get("text") if isinstance(part, Mapping) else None
    if kind not in _TEXT_PARTS or not isinstance(content, str):
        shown = str(kind)[:_LONGEST_NAME]
        raise UnusableRow(f"a message has a part of type {shown}: expected texts alone")
    return content


def _kind(found: Any) -> str:
    return "null" if found is None else f"of type {type(found).__name__}"
