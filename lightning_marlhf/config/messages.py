"""What jsonargparse found wrong, in one line: the whole key, what was expected, what was given."""

import re
from collections.abc import Mapping
from typing import Any

from lightning_marlhf.config.raw_config import find_paths
from lightning_marlhf.config.suggest import did_you_mean

_RELATIVE_KEY = re.compile(r'^(?P<indent> *)Parser key "(?P<key>[^"]+)"', re.MULTILINE)
_EXPECTED = re.compile(r"Expected an? (.+?)(?:\. Got value|$)", re.MULTILINE)
_SUBTYPES = re.compile(r"Subtypes: \[(.+)\]")
_GOT = re.compile(r"(?:Got value|Given value): (.+)")
_MAX_LENGTH = 300


def one_line(message: str, tree: Mapping[str, Any]) -> str:
    """Put jsonargparse's message into one line with the whole path of the key.

    Args:
        message: what `ArgumentParser.error` was given; its keys are relative to the innermost class.
        tree: the raw config, where the whole path is looked up.
    """
    key, detail = _innermost(message)
    if key is None:
        return " ".join(message.split())[:_MAX_LENGTH]
    found = find_paths(tree, key)
    got = _GOT.search(detail)
    value = got.group(1).strip() if got else None
    path = next((p for p, v in found if str(v) == value), found[0][0] if found else key)
    options = _options(detail)
    if not options:
        return f"{path}: {' '.join(detail.split())}"[:_MAX_LENGTH]
    near = did_you_mean(value, [o.strip("'") for o in options]) if value else ""
    return f"{path}: expected {' or '.join(options)}, got {value!r}{near}"[:_MAX_LENGTH]


def _innermost(message: str) -> tuple[str | None, str]:
    """Return the whole key that an indented message ends at, and what is said about it."""
    chain: list[re.Match[str]] = []
    for found in _RELATIVE_KEY.finditer(message):
        chain = [outer for outer in chain if len(outer["indent"]) < len(found["indent"])]
        chain.append(found)
    if not chain:
        return None, message
    detail = message[chain[-1].end() :].lstrip(":")
    return ".".join(found["key"] for found in chain), detail


def _options(message: str) -> list[str]:
    """Return readable names of the types that a value should have had."""
    found = _SUBTYPES.search(message) or _EXPECTED.search(message)
    if found is None:
        return []
    text = re.sub(r"<class '([\w.]+)'>", lambda m: m.group(1).rpartition(".")[2], found.group(1))
    text = text.replace("NoneType", "null").replace("typing.", "")
    text = re.sub(r"Annotated\[(\w+), [^\]]+\]", r"\1", text)  # whose range is another check's
    literal = re.search(r"Literal\[(.+?)\]", text)
    rest = re.sub(r"Literal\[.+?\]", "", text)
    optional = re.fullmatch(r"Optional\[(.+)\]", rest)
    words = [
        *(literal.group(1) if literal else "").split(", "),
        *(optional.group(1) if optional else rest).split(", "),
    ]
    return [word for word in words if word.strip()] + (["null"] if optional else [])
