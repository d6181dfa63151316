"""Untrusted strings as text that people can read, on a page and in a terminal."""

import json
import math
import textwrap
import unicodedata
from typing import Any

# Control characters, which steer a terminal; format characters, which reorder or hide the text around them; halves of
# surrogate pairs; and separators of lines that are no newlines.
_UNSAFE_CATEGORIES = {"Cc", "Cf", "Cs", "Zl", "Zp"}
_VISIBLE = {"\n": "\u23ce", "\t": "\u21e5", "\r": "\u240d"}
_REPLACEMENT = "\ufffd"
_CODE_WIDTH = 110  # characters; TensorBoard does not wrap code


def printable(text: str, *, keep: str = "\n\t") -> str:
    r"""Return ``text`` with control, invisible and unpaired surrogate characters replaced.

    Args:
        text: of a model, a user or a server.
        keep: of newlines and tabs, those that stay; the others are shown as symbols. Where newlines stay, every end of
            a line becomes one.

    >>> printable("red \x1b[31m\r\n")
    'red \ufffd[31m\n'
    """
    if "\n" in keep:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    return "".join(
        c if c in keep or not _is_unsafe(c) else _VISIBLE.get(c, _REPLACEMENT) for c in text
    )


def code_block(text: str) -> str:
    """Return untrusted text as an indented Markdown block, in which nothing is Markdown or HTML; wrap long lines."""
    lines = printable(text).removesuffix("\n").split("\n") if text else ["(empty)"]
    wrap = textwrap.TextWrapper(_CODE_WIDTH, expand_tabs=False, replace_whitespace=False)
    return "\n".join(f"    {part}" for line in lines for part in wrap.wrap(line) or [""])


def printable_json(value: Any) -> str:
    """Write JSON on one line in which unsafe characters are escapes: it can be shown, and reads back as it was."""
    line = json.dumps(value, ensure_ascii=False)
    return "".join(json.dumps(c)[1:-1] if _is_unsafe(c) else c for c in line)


def _is_unsafe(character: str) -> bool:
    return unicodedata.category(character) in _UNSAFE_CATEGORIES


def duration(seconds: float | None) -> str:
    """Write a time in two units at most.

    >>> duration(3.14), duration(42), duration(185), duration(7500), duration(None)
    ('3.1 s', '42 s', '3 min 05 s', '2 h 05 min', '?')
    """
    if seconds is None or not math.isfinite(seconds):
        return "?"
    if seconds < 9.95:
        return f"{max(0.0, seconds):.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"
