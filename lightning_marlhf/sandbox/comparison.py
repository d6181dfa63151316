"""Whether what a program printed, or what a function returned, is the expected output.

"strict" is for rewards: order counts, integers and words are exact, only decimal numbers have a tolerance. "apps" is
for numbers to be held against published ones: it repeats ``run_test`` of hendrycks/apps @ 5dcfdf2,
eval/testing_util.py. That takes "3 2 1 1" for "1 2 3", and the two lines NO and YES for the three YES, NO and YES: a
policy that is paid by it learns to cheat.

Whatever the untrusted program wrote, the comparison takes time linear in it, and is False if it cannot be read.

What "apps" cannot repeat: results come as JSON, so a set, an array or an object of the program's own class never gets
here (the official harness asks the object's own ``__eq__``), a tuple deep inside a result is the same as a list, and
the key 1 of a dictionary the same as "1".
"""

import json
import math
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from decimal import Decimal
from typing import Any

from lightning_marlhf.sandbox.verdicts import Match

_TOLERANCE = 1e-6  # relative where the expected number is above 1, else absolute
_LONGEST_INT = 4_300  # digits that Python's `int` reads
_UNREADABLE = object()  # equal to nothing

# "1.50", ".5", "1.5e5" or "1e-05", which Python and C print; "1e5" alone may as well be a name
_DECIMAL = re.compile(r"[+-]?(?:(?:[0-9]+\.[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|[0-9]+[eE][+-][0-9]+)")
_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")

_Same = Callable[[Any, Any], bool]


def printed_matches(printed: str, expected: Any, *, match: Match) -> bool:
    r"""Decide whether a program printed what it should.

    "strict" compares the full outputs word by word, as Codeforces' checker of tokens does (``wcmp`` of testlib):
    spaces, blank lines, and how words are spread over lines do not matter. Upper and lower case differ. If the
    expected word is a decimal number, any number within 1e-6 is right (relative, or absolute below 1); other words are
    right to the character, so 2.0 is wrong for 2, and -0 for 0.

    Args:
        printed: Standard output.
        expected: The expected output, a text or a list of lines.
        match: Rule of comparison.

    Raises:
        ValueError: if the expected output is neither.

    >>> printed_matches("1 2 \n0.333333333\n\n", "1 2\n0.3333333\n", match="strict")
    True
    >>> printed_matches("2 1", "1 2", match="strict"), printed_matches("2 1", "1 2", match="apps")
    (False, True)
    """
    return _PRINTED[match](printed, _as_text(expected))


def returned_matches(returned_json: str, expected: Any, *, match: Match) -> bool:
    """Decide whether a function returned what it should.

    APPS writes an expected value bare or as the one item of a list. One test alone does not say which, so both are
    right: for [[1]], [[1]] and [1], but not 1.

    "strict" tells booleans from integers, takes 3.0 for 3, and allows 1e-6 (relative, or absolute below 1) where the
    expected number is written as a decimal. "apps" is Python's ``==``; it also takes the first item of a longer list.

    Args:
        returned_json: The value as JSON, written by the program: tuples are lists, the keys of dictionaries texts.
        expected: The expected value, as read from JSON.
        match: Rule of comparison.

    Returns:
        False also where the JSON is malformed or nested too deeply.

    >>> returned_matches("[1, 2.0]", [[1, 2]], match="strict")
    True
    >>> returned_matches("true", 1, match="strict"), returned_matches("true", 1, match="apps")
    (False, True)
    """
    try:
        returned = json.loads(returned_json, parse_int=_read_integer)
    except (ValueError, RecursionError):
        returned = _UNREADABLE
    return _RETURNED[match](returned, expected)


def _as_text(expected: Any) -> str:
    lines = [expected] if isinstance(expected, str) else expected
    if not isinstance(lines, list) or not all(isinstance(line, str) for line in lines):
        raise ValueError(f"expected output is {expected!r:.60}: expected a text or a list of lines")
    return "\n".join(lines)


def _read_integer(digits: str) -> int | Decimal:
    """Read an integer of any length in linear time; a Decimal compares exactly with `int`."""
    return int(digits) if len(digits) < _LONGEST_INT else Decimal(digits)


def _strictly_printed(printed: str, expected: str) -> bool:
    words, wanted = printed.split(), expected.split()
    return len(words) == len(wanted) and all(map(_same_word, words, wanted))


def _same_word(word: str, wanted: str) -> bool:
    """Compare two words.

    >>> _same_word("2.0000001", "2.0"), _same_word("2", "2.0"), _same_word("2.0", "2")
    (True, True, False)
    """
    if word == wanted:
        return True
    if not (_DECIMAL.fullmatch(wanted) and _NUMBER.fullmatch(word)):
        return False
    return _close(float(word), float(wanted))


def _strictly_returned(returned: Any, expected: Any) -> bool:
    wrapped = isinstance(expected, list | tuple) and len(expected) == 1
    wanted = [expected, expected[0]] if wrapped else [expected]
    return any(_equal(returned, each, _same_value) for each in wanted)


def _same_value(value: Any, wanted: Any) -> bool:
    """Compare two values that are not two lists or two dictionaries."""
    if not (_is_number(value) and _is_number(wanted)):
        return type(value) is type(wanted) and value == wanted
    if value == wanted or (value != value and wanted != wanted):  # both NaN
        return True
    return isinstance(wanted, float) and _close(value, wanted)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | Decimal) and not isinstance(value, bool)


def _close(number: float | Decimal, wanted: float) -> bool:
    """Compare finite numbers; what is not finite is close to nothing."""
    try:
        number = float(number)
    except OverflowError:
        return False
    off = abs(number - wanted)
    return math.isfinite(wanted) and off <= _TOLERANCE * max(1.0, abs(wanted))


def _equal(returned: Any, expected: Any, same: _Same) -> bool:
    """Compare lists and dictionaries to any depth without recursion, and by ``same`` what they hold."""
    pairs = [(returned, expected)]
    while pairs:
        value, wanted = pairs.pop()
        if isinstance(value, dict) and isinstance(wanted, dict):
            wanted = {_as_key(key): each for key, each in wanted.items()}
            if value.keys() != wanted.keys():
                return False
            pairs += [(each, wanted[key]) for key, each in value.items()]
        elif isinstance(value, list) and isinstance(wanted, list | tuple):
            if len(value) != len(wanted):
                return False
            pairs += zip(value, wanted, strict=True)
        elif not same(value, wanted):
            return False
    return True


def _as_key(key: Any) -> str:
    return key if isinstance(key, str) else json.dumps(key)


def _officially_printed(printed: str, expected: str) -> bool:
    """Go down the official ladder: each step is weaker than the one before."""
    lines = printed.splitlines()
    stripped = "\n".join(line.strip() for line in lines)
    if expected.strip() in ("\n".join(lines).strip(), stripped.strip()):
        return True
    wanted = [line.strip() for line in expected.split("\n") if line]
    filled = [line for line in lines if line]
    return (
        lines == wanted
        or _all_close(filled, wanted)
        or _same_sets(filled, wanted, str)
        or _same_sets(filled, wanted, _thousandths)
    )


def _all_close(lines: list[str], wanted: list[str]) -> bool:
    """Compare one number a line by the formula of ``numpy.allclose``."""
    try:
        pairs = list(zip(map(float, lines), map(float, wanted), strict=True))
    except ValueError:  # no number, or not as many
        return False
    return all(x == y or (math.isfinite(y) and abs(x - y) <= 1e-8 + 1e-5 * abs(y)) for x, y in pairs)


def _same_sets(lines: list[str], wanted: list[str], read: Callable[[str], Any]) -> bool:
    """Compare the set of the lines, each the set of its words; blank lines are dropped from ``lines`` alone."""
    try:
        return _sets(filter(str.strip, lines), read) == _sets(wanted, read)
    except ValueError:  # no number
        return False


def _sets(lines: Iterable[str], read: Callable[[str], Any]) -> set[frozenset[Any]]:
    return {frozenset(map(read, line.split())) for line in lines}


def _thousandths(word: str) -> float:
    return round(float(word), 3)


def _officially_returned(returned: Any, expected: Any) -> bool:
    return any(_equal(returned, each, _same_in_python) for each in _official_values(expected))


def _official_values(expected: Any) -> Iterator[Any]:
    """List what counts as the expected value.

    A dictionary at the start whose keys are all integers gets them as such, and becomes a list without what followed.
    """
    first = expected[0] if isinstance(expected, list) and expected else expected
    if isinstance(first, dict):
        with suppress(ValueError, TypeError):  # a key that is no integer
            expected = [{str(int(key)): value for key, value in first.items()}]
    yield expected
    if isinstance(expected, list) and expected:
        yield expected[0]


def _same_in_python(value: Any, wanted: Any) -> bool:
    return bool(value == wanted)


_PRINTED: dict[Match, Callable[[str, str], bool]] = {"strict": _strictly_printed, "apps": _officially_printed}
_RETURNED: dict[Match, _Same] = {"strict": _strictly_returned, "apps": _officially_returned}
