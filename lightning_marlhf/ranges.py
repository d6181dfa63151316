"""Ranges of numbers, stated in type hints: whoever reads a setting's type knows what it may be.

    lr: Annotated[float, Range(at_least=0, at_most=1)] = 1e-5

`checked` classes refuse other numbers when they are built; the command line refuses them earlier, by the same hints. A
number that is NaN, infinite or beyond 64 bits is refused everywhere.
"""

import functools
import inspect
import math
import reprlib
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

Class = TypeVar("Class", bound=type)
LARGEST = 2**63 - 1  # of tensors' whole numbers; no setting has a use for more


@dataclass(frozen=True, repr=False)
class Range:
    """Numbers of at most 64 bits between bounds; None is no other bound."""

    at_least: float | None = None
    at_most: float | None = None
    above: float | None = None
    below: float | None = None

    def __contains__(self, number: float) -> bool:
        """Return whether a number is in the range; NaN and infinity never are."""
        return (
            -LARGEST <= number <= LARGEST
            and (self.at_least is None or number >= self.at_least)
            and (self.at_most is None or number <= self.at_most)
            and (self.above is None or number > self.above)
            and (self.below is None or number < self.below)
        )

    def __repr__(self) -> str:
        """Describe the range, for errors and for the help of the command line."""
        bounds = {"at least": self.at_least, "more than": self.above, "at most": self.at_most, "less than": self.below}
        words = [f"{name} {bound:,}" for name, bound in bounds.items() if bound is not None]
        return " and ".join(words) or "a finite number"


PositiveInt = Annotated[int, Range(at_least=1)]
NonNegativeInt = Annotated[int, Range(at_least=0)]
Positive = Annotated[float, Range(above=0)]
NonNegative = Annotated[float, Range(at_least=0)]
Seconds = Annotated[float, Range(above=0, at_most=10**9)]  # timers overflow beyond 9.2e9
Seed = Annotated[int, Range(at_least=0, at_most=2**32 - 1)]  # numpy's
UnitInterval = Annotated[float, Range(at_least=0, at_most=1)]


def find_outside(value: Any, hint: Any, name: str) -> str | None:
    """Look for a number outside its range.

    Args:
        value: a number, also as YAML's text (``1e-5``), a list or mapping of them at any depth, or anything else.
        hint: its type.
        name: Name of the value.

    Returns:
        The error message: name, range and value; None if all are in range.
    """
    return next(_outside(value, hint, name), None)


def checked(cls: Class) -> Class:
    """Let a class refuse arguments of its constructor that are outside the ranges of their hints.

    Raises:
        ValueError: when it is built; names the argument, the range and the value.
    """
    build = vars(cls)["__init__"]
    signature = inspect.signature(build)

    @functools.wraps(build)
    def checked_build(self: Any, *args: Any, **kwargs: Any) -> None:
        hints = typing.get_type_hints(build, include_extras=True)
        for name, value in signature.bind(self, *args, **kwargs).arguments.items():
            if signature.parameters[name].kind is inspect.Parameter.VAR_KEYWORD:
                continue  # those of a parent, which checks them itself
            mistake = find_outside(value, hints.get(name), name)
            if mistake:
                raise ValueError(mistake)
        build(self, *args, **kwargs)

    cls.__init__ = checked_build  # type: ignore[misc]
    return cls


def _outside(value: Any, hint: Any, name: str) -> Iterator[str]:
    value = _number(value, hint)
    if isinstance(value, int | float) and not isinstance(value, bool):
        for allowed in _ranges(hint) or [Range()]:
            if value not in allowed:
                expected = Range(at_most=LARGEST) if LARGEST < value < math.inf else allowed
                yield f"{name}: expected {expected}, got {reprlib.repr(value)}"
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _outside(item, _item_hint(hint), f"{name}.{key}")
    elif isinstance(value, Sequence) and not isinstance(value, str | bytes):
        for item in value:
            yield from _outside(item, _item_hint(hint), name)


def _number(value: Any, hint: Any) -> Any:
    """Read a number that was given as text."""
    wanted = [get_args(m)[0] if get_origin(m) is Annotated else m for m in _members(hint)]
    if not isinstance(value, str) or str in wanted or not {int, float} & set(wanted):
        return value
    try:
        return float(value)
    except ValueError:
        return value  # wrong type: left to the type check


def _members(hint: Any) -> tuple[Any, ...]:
    """Return the types of a union, or the type itself."""
    return get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)


def _ranges(hint: Any) -> list[Range]:
    """Return the range of a number's type."""
    return [note for m in _members(hint) for note in getattr(m, "__metadata__", ()) if isinstance(note, Range)]


def _item_hint(hint: Any) -> Any:
    """Return the item type of a list or mapping."""
    inner = [args[-1] for m in _members(hint) if (args := [a for a in get_args(m) if a is not ...])]
    return inner[0] if inner else Any
