"""Spelling suggestions."""

import difflib
from collections.abc import Iterable

_NEAR = 0.65  # fraction of common letters: `stf` is near `sft`, `ppo` is not
_SHORTEST = 2
_SHORTEST_PREFIX = 3


def nearest(word: str, options: Iterable[str]) -> str | None:
    """Return the option that ``word`` misspells or begins, or None if none is near.

    >>> nearest("fitt", ["fit", "test"])
    'fit'
    >>> nearest("clip", ["lr", "clip_range"])
    'clip_range'
    """
    by_folded = {_folded(option): option for option in options}
    if len(word) < _SHORTEST:
        return None
    matches = difflib.get_close_matches(_folded(word), by_folded, n=1, cutoff=_NEAR)
    if not matches and len(word) >= _SHORTEST_PREFIX:
        matches = [option for option in by_folded if option.startswith(_folded(word))]
    return by_folded[matches[0]] if matches else None


def did_you_mean(word: str, options: Iterable[str]) -> str:
    """Return `, did you mean 'x'?` or an empty string, for error messages about ``word``."""
    match = nearest(word, options)
    return f", did you mean {match!r}?" if match else ""


def _folded(word: str) -> str:
    return word.lower().replace("-", "_")
