"""The nearest right word to a wrong one."""

import difflib
from collections.abc import Iterable


def nearest(word: str, options: Iterable[str]) -> str | None:
    """Return the option most like ``word``, or None where none is like it.

    >>> nearest("fitt", ["fit", "test"])
    'fit'
    """
    options = list(options)
    by_folded = {option.lower().replace("-", "_"): option for option in options}
    folded = word.lower().replace("-", "_")
    matches = difflib.get_close_matches(folded, by_folded, n=1, cutoff=0.5)
    return by_folded[matches[0]] if matches else None


def did_you_mean(word: str, options: Iterable[str]) -> str:
    """Return `, did you mean 'x'?` or an empty string, to be put behind a complaint about ``word``."""
    match = nearest(word, options)
    return f", did you mean {match!r}?" if match else ""
