"""Parses a YAML tree into nested dataclasses, as for plan files.

Types and keys are checked by jsonargparse, ranges by `ranges`. jsonargparse does not locate an
error inside lists and mappings, so the innermost invalid part is searched for here, to name its full key.
"""

import dataclasses
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn, TypeVar, Union, get_args, get_origin

from jsonargparse import ArgumentParser

from lightning_marlhf.config.jsonargparse_errors import one_line
from lightning_marlhf.config.suggest import did_you_mean
from lightning_marlhf.config.yaml_files import ConfigError
from lightning_marlhf.ranges import find_outside

Class = TypeVar("Class")
_KEY = "value"  # of a part that is parsed by itself


def parse_tree(cls: type[Class], tree: Any) -> Class:
    """Make a dataclass from plain mappings and lists.

    Args:
        cls: A dataclass, whose fields may hold others, or a list or mapping of dataclasses.
        tree: What a YAML holds. A field that is null has its default.

    Raises:
        ConfigError: An unknown or missing key, a wrong type, a number out of range, or what `__post_init__` refuses;
            begins with the full key.
    """
    tree = _without_nulls(cls, tree)
    parts = [*_parts(cls, tree, "")]  # the innermost first
    for hint, value, key in parts:
        if isinstance(value, int | float) and (mistake := find_outside(value, hint, key)):
            raise ConfigError(mistake)
    try:
        return _build(cls, tree)  # type: ignore[no-any-return]
    except ValueError:
        for hint, value, key in parts:
            try:
                _build(hint, value)
            except ValueError as mistake:
                raise ConfigError(_one_line(str(mistake), hint, value, key)) from None
        raise


class _Parser(ArgumentParser):
    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        raise ValueError(message) from None


def _build(hint: Any, value: Any) -> Any:
    parser = _Parser()
    parser.add_argument(f"--{_KEY}", type=hint)
    return parser.instantiate(parser.parse_object({_KEY: value}))[_KEY]


def _parts(hint: Any, value: Any, where: str) -> Iterator[tuple[Any, Any, str]]:
    """Yield type, value and key of everything in a tree, what is inside before what it is in."""
    for key, inner in _fields(hint, value).items():
        yield from _parts(inner, value[key], f"{where}.{key}" if where else str(key))
    yield _not_none(hint), value, where


def _fields(hint: Any, value: Any) -> dict[Any, Any]:
    """Return the type of each item of a mapping or list."""
    hint = _not_none(hint)
    if isinstance(value, Mapping):
        if dataclasses.is_dataclass(hint):
            hints = typing.get_type_hints(hint, include_extras=True)
            known = [field.name for field in dataclasses.fields(hint)]
            return {key: hints[key] for key in value if key in known}
        return dict.fromkeys(value, get_args(hint)[-1]) if get_args(hint) else {}
    if isinstance(value, list) and get_args(hint) and get_origin(hint) is not typing.Literal:
        return dict.fromkeys(range(len(value)), get_args(hint)[0])
    return {}


def _not_none(hint: Any) -> Any:
    """Return the type in `X | None`."""
    if get_origin(hint) not in (Union, types.UnionType):
        return hint
    members = [member for member in get_args(hint) if member is not types.NoneType]
    return members[0] if len(members) == 1 else hint


def _without_nulls(hint: Any, value: Any) -> Any:
    if isinstance(value, Mapping):
        inner = _fields(hint, value)
        known = dataclasses.is_dataclass(_not_none(hint))
        return {
            key: _without_nulls(inner[key], item) if key in inner else item
            for key, item in value.items()
            if not (known and key in inner and item is None)
        }
    if isinstance(value, list):
        inner = _fields(hint, value)
        return [_without_nulls(inner[i], item) if inner else item for i, item in enumerate(value)]
    return value


def _one_line(message: str, hint: Any, value: Any, where: str) -> str:
    """Describe the error of a part whose children are valid."""
    prefix = f"{where}: " if where else ""
    if not dataclasses.is_dataclass(hint):
        line = one_line(message, ()).removeprefix(f"{_KEY}: ")
        return f"{prefix}{line}"
    known = {field.name: field for field in dataclasses.fields(hint)}
    if not isinstance(value, Mapping):
        return f"{prefix}expected key: value lines, got {value!r}"
    for key in value:
        if key not in known:
            near = did_you_mean(str(key), known)
            return f"{prefix}no key {key!r}{near}; expected {', '.join(known)}"
    no_default = (dataclasses.MISSING, dataclasses.MISSING)
    for name, field in known.items():
        if name not in value and (field.default, field.default_factory) == no_default:
            return f"{prefix}{name} is missing"
    return f"{where}.{message}" if where else message
