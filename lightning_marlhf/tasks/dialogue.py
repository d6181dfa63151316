"""Dialogues as one text, as HH-RLHF writes them, and as turns, as chat templates want them."""

import re
from collections.abc import Iterator, Mapping, Sequence

HUMAN = "\n\nHuman:"
ASSISTANT = "\n\nAssistant:"

Turn = Mapping[str, str]
"""``role``: "system", "user" or "assistant"; ``content``: the text."""

_ROLES = {"Human": "user", "Assistant": "assistant"}
_MARK = re.compile(r"(?:^|\n\n)(Human|Assistant):")
_WEBGPT = re.compile(r" Human: (.*) Assistant:", re.DOTALL)


def to_text(turns: Sequence[Turn]) -> str:
    r"""Write turns as HH-RLHF does, up to where the assistant speaks next.

    >>> to_text([{"role": "user", "content": "Hi"}])
    '\n\nHuman: Hi\n\nAssistant:'
    """
    marks = {"system": "", "user": f"{HUMAN} ", "assistant": f"{ASSISTANT} "}
    return "".join(marks[turn["role"]] + turn["content"] for turn in turns) + ASSISTANT


def to_plain(turns: Sequence[Turn]) -> str:
    r"""Write turns for people and judges: a single question as it is, any other dialogue as HH-RLHF does.

    >>> to_plain([{"role": "user", "content": "Hi"}])
    'Hi'
    """
    alone = len(turns) == 1 and turns[0]["role"] == "user"
    return turns[0]["content"] if alone else to_text(turns).strip()


def to_turns(text: str) -> list[Turn]:
    r"""Read the turns of a prompt of HH-RLHF or WebGPT; any other text is one turn of the user.

    What comes before the first turn is the system's. Turns of one role in a row become one, as chat templates want
    roles to alternate. The place where the assistant is to speak is no turn.

    >>> to_turns("\n\nHuman: Hi\n\nAssistant: Hello.\n\nHuman: Why?\n\nAssistant:")[1:]
    [{'role': 'assistant', 'content': 'Hello.'}, {'role': 'user', 'content': 'Why?'}]
    """
    question = _WEBGPT.fullmatch(text)
    if question:
        return [{"role": "user", "content": question[1].strip()}]
    if not _MARK.search(text):
        return [{"role": "user", "content": text}]
    turns: list[Turn] = []
    for role, content in _split_turns(text):
        if turns and turns[-1]["role"] == role:
            content = f"{turns.pop()['content']}\n\n{content}"
        turns.append({"role": role, "content": content})
    return turns


def with_response(prompt: str, response: str) -> list[Turn]:
    """Read the turns of a prompt, and add the response as the assistant's, whatever it holds.

    If the prompt ends in the middle of the assistant's turn, the response continues it.
    """
    turns = to_turns(prompt)
    if turns and turns[-1]["role"] == "assistant":
        return [*turns[:-1], {"role": "assistant", "content": turns[-1]["content"] + response}]
    return [*turns, {"role": "assistant", "content": response.strip()}]


def _split_turns(text: str) -> Iterator[tuple[str, str]]:
    before, *parts = _MARK.split(text)
    if before.strip():
        yield "system", before.strip()
    for name, content in zip(parts[::2], parts[1::2], strict=True):
        if content.strip():
            yield _ROLES[name], content.strip()
