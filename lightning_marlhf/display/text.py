"""Untrusted strings, numbers, times and paths as text that people can read, on a page and in a terminal."""

import json
import math
import textwrap
import unicodedata
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

from lightning_marlhf.run_folder import EXPORT

# Control characters (terminals act on them); format characters, which reorder or hide the text around them; halves of
# surrogate pairs; and separators of lines that are no newlines.
_UNSAFE_CATEGORIES = {"Cc", "Cf", "Cs", "Zl", "Zp"}
VISIBLE = {"\n": "\u23ce", "\t": "\u21e5", "\r": "\u240d"}
_REPLACEMENT = "\ufffd"
_CODE_WIDTH = 110  # characters; TensorBoard does not wrap code
MISSING = "–"  # a missing number  # noqa: RUF001


def printable(text: str, *, keep: str = "\n\t") -> str:
    r"""Return ``text`` with control, invisible and unpaired surrogate characters replaced.

    Args:
        text: of a model, a user or a server.
        keep: of newlines and tabs, those that stay; the others are shown as symbols. If newlines stay, every end of
            a line becomes one.

    >>> printable("red \x1b[31m\r\n")
    'red \ufffd[31m\n'
    """
    if "\n" in keep:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    return "".join(c if c in keep or not _is_unsafe(c) else VISIBLE.get(c, _REPLACEMENT) for c in text)


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


def number(value: float | None, decimals: int, *, signed: bool = False) -> str:
    """Return a rounded number, or a dash if there is none.

    >>> number(-0.001, 2), number(2.0, 1, signed=True), number(None, 2) == MISSING
    ('0.00', '+2.0', True)
    """
    if value is None or not math.isfinite(value):
        return MISSING
    rounded = round(value, decimals) + 0.0  # no "-0.00"
    return f"{rounded:{'+' if signed else ''}.{decimals}f}"


def plural(count: int, noun: str) -> str:
    """Return a count and its noun.

    >>> plural(1, "seed"), plural(1200, "seed")
    ('1 seed', '1,200 seeds')
    """
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


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


def short_labels(sources: Sequence[str]) -> dict[str, str]:
    """Label each source by the parts of its path in which it differs from the others.

    >>> short_labels(["runs/tldr/ppo/seed-1", "runs/tldr/ma_ppo/seed-1/export"])
    {'runs/tldr/ppo/seed-1': 'ppo', 'runs/tldr/ma_ppo/seed-1/export': 'ma_ppo'}
    >>> list(short_labels(["runs/tldr/ppo", "baidu/TLDR"]).values()), list(short_labels(["runs/ppo"]).values())
    (['runs/tldr/ppo', 'baidu/TLDR'], ['runs/ppo'])
    """

    def num_common(paths: Sequence[Sequence[str]]) -> int:
        """Count the leading parts that all paths share, without the last part of any."""
        columns = zip(*(path[:-1] for path in paths), strict=False)
        return sum(1 for _ in takewhile(lambda column: len(set(column)) == 1, columns))

    parts = [Path(source).parts for source in sources]
    parts = [each[:-1] if each[-1] == EXPORT and len(each) > 1 else each for each in parts]
    if len(sources) > 1:
        first = num_common(parts)
        parts = [each[first:] for each in parts]
        last = num_common([each[::-1] for each in parts])
        parts = [each[: len(each) - last] for each in parts]
    return {source: str(Path(*each)) for source, each in zip(sources, parts, strict=True)}
