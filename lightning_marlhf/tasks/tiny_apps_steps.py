"""Families of tiny programming problems: each step in words, as Python text, and as a function of ours.

A first step takes the input, which programs call ``a``; a second one takes ``x``, what the first gave. Expected outputs
come from `Step.run`, never from a text that is run.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["numbers", "words", "number", "text", "list"]

_ANY = range(2, 10)
_FEW = range(2, 5)


@dataclass(frozen=True)
class Step:
    """One step of a problem.

    Attributes:
        says: Words of the question; ``{k}`` is the constant.
        code: The expression; ``a`` is the input, ``{x}`` the expression of the first step.
        run: Function of a value and the constant.
        constants: Values of ``{k}``; a step without ``{k}`` has the one constant 0.
    """

    says: str
    code: str
    run: Callable[[Any, int], Any]
    constants: Sequence[int] = (0,)


# What the input is, what the first step gives -> the first steps
FIRST: Mapping[tuple[Kind, Kind], Sequence[Step]] = {
    ("numbers", "number"): (
        Step("the total of the numbers", "sum(a)", lambda a, k: sum(a)),
        Step("the largest number", "max(a)", lambda a, k: max(a)),
        Step("the smallest number", "min(a)", lambda a, k: min(a)),
        Step("the count of numbers", "len(a)", lambda a, k: len(a)),
        Step("the first number", "a[0]", lambda a, k: a[0]),
        Step("the last number", "a[-1]", lambda a, k: a[-1]),
        Step("the count of different numbers", "len(set(a))", lambda a, k: len(set(a))),
        Step("the total of the different numbers", "sum(set(a))", lambda a, k: sum(set(a))),
        Step("the total of the absolute numbers", "sum(map(abs,a))", lambda a, k: sum(map(abs, a))),
        Step("the total of the squares", "sum(x*x for x in a)", lambda a, k: sum(x**2 for x in a)),
        Step("the count of odd numbers", "sum(x%2 for x in a)", lambda a, k: sum(x & 1 for x in a)),
        Step(
            "the count of numbers above {k}", "sum(x>{k} for x in a)", lambda a, k: len([x for x in a if x > k]), _ANY
        ),
    ),
    ("numbers", "list"): (
        Step("the ordered numbers", "sorted(a)", lambda a, k: sorted(a)),
        Step("the numbers backwards", "a[::-1]", lambda a, k: a[::-1]),
        Step("the squares", "[x*x for x in a]", lambda a, k: [x**2 for x in a]),
        Step("each number plus {k}", "[x+{k} for x in a]", lambda a, k: [x + k for x in a], _ANY),
        Step("each number times {k}", "[x*{k} for x in a]", lambda a, k: [x * k for x in a], _ANY),
    ),
    ("words", "number"): (
        Step("the count of words", "len(a)", lambda a, k: len(a)),
        Step("the count of letters", "len(''.join(a))", lambda a, k: len("".join(a))),
        Step("the length of the longest word", "max(map(len,a))", lambda a, k: max(map(len, a))),
        Step("the length of the first word", "len(a[0])", lambda a, k: len(a[0])),
        Step(
            "the count of words longer than {k}",
            "sum(len(x)>{k} for x in a)",
            lambda a, k: len([x for x in a if len(x) > k]),
            _FEW,
        ),
    ),
    ("words", "text"): (
        Step("the first word", "a[0]", lambda a, k: a[0]),
        Step("the last word", "a[-1]", lambda a, k: a[-1]),
        Step("the longest word", "max(a,key=len)", lambda a, k: max(a, key=len)),
        Step("the shortest word", "min(a,key=len)", lambda a, k: min(a, key=len)),
        Step("the words joined", "''.join(a)", lambda a, k: "".join(a)),
        Step("the initials", "''.join(x[0] for x in a)", lambda a, k: "".join(x[0] for x in a)),
    ),
    ("words", "list"): (
        Step("the ordered words", "sorted(a)", lambda a, k: sorted(a)),
        Step("the words backwards", "a[::-1]", lambda a, k: a[::-1]),
        Step("the length of each word", "[len(x) for x in a]", lambda a, k: list(map(len, a))),
        Step("each word twice", "[x*2 for x in a]", lambda a, k: [x + x for x in a]),
    ),
}

_OF_SEQUENCES = (
    Step(", reversed", "{x}[::-1]", lambda x, k: x[::-1]),
    Step(", without the first", "{x}[1:]", lambda x, k: x[1:]),
    Step(", without the last", "{x}[:-1]", lambda x, k: x[:-1]),
    Step(", {k} times", "{x}*{k}", lambda x, k: x * k, _ANY),
    Step(", up to {k}", "{x}[:{k}]", lambda x, k: x[:k], _FEW),
)
# What the first step gave -> the second steps, which give the same kind
SECOND: Mapping[Kind, Sequence[Step]] = {
    "number": (
        Step(", plus {k}", "{x}+{k}", lambda x, k: x + k, _ANY),
        Step(", minus {k}", "{x}-{k}", lambda x, k: x - k, _ANY),
        Step(", times {k}", "{x}*{k}", lambda x, k: x * k, _ANY),
        Step(", halved", "{x}//2", lambda x, k: x // 2),
        Step(", squared", "{x}**2", lambda x, k: x * x),
    ),
    "text": _OF_SEQUENCES,
    "list": _OF_SEQUENCES,
}
