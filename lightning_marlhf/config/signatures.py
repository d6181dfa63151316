"""What constructors and type hints say about the settings that a YAML may hold."""

import dataclasses
import enum
import inspect
import sys
import types
import typing
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Union, get_args, get_origin


@dataclass(frozen=True)
class Setting:
    """One parameter of a constructor."""

    hint: Any
    required: bool


def settings_of(target: Callable[..., Any]) -> dict[str, Setting] | None:
    """Return the parameters that a YAML may set, or None where the signature accepts anything.

    `**kwargs` are followed to the constructors of the parents, as jsonargparse does.
    """
    if dataclasses.is_dataclass(target):
        hints = typing.get_type_hints(target, include_extras=True)
        return {
            f.name: Setting(hints[f.name], _has_no_default(f))
            for f in dataclasses.fields(target)
            if f.init
        }
    if not isinstance(target, type):
        return _parameters(target)[0]
    settings: dict[str, Setting] = {}
    for parent in inspect.getmro(target):
        if "__init__" not in vars(parent) or parent is object:
            continue
        found, more = _parameters(vars(parent)["__init__"])
        settings = {**found, **settings}
        if not more:
            return settings
    return None if settings else {}


def members(hint: Any) -> tuple[Any, ...]:
    """Return the types of a union, or the type itself."""
    if get_origin(hint) in (Union, types.UnionType):
        return tuple(m for part in get_args(hint) for m in members(part))
    return members(get_args(hint)[0]) if get_origin(hint) is typing.Annotated else (hint,)


def structs(hint: Any) -> list[Any]:
    """Return the dataclasses of a hint."""
    return [m for m in members(hint) if dataclasses.is_dataclass(m)]


def classes(hint: Any) -> list[type]:
    """Return the classes of a hint that a YAML names by `class_path`."""
    return [m for m in members(hint) if isinstance(m, type) and not _is_value(m)]


def item_hint(hint: Any) -> Any:
    """Return the hint of a list's items; Any where the hint is no list."""
    for member in members(hint):
        if get_origin(member) in (list, tuple, set, Sequence) and get_args(member):
            return get_args(member)[0]
    return Any


def value_hint(hint: Any) -> Any:
    """Return the hint of a mapping's values; None where the hint is no mapping."""
    for member in members(hint):
        if member in (dict, Any):
            return Any
        if get_origin(member) in (dict, typing.Mapping, types.MappingProxyType) or _is_mapping(
            member
        ):
            return get_args(member)[1] if len(get_args(member)) == 2 else Any
    return None


def names_class(value: Any, hint: Any) -> bool:
    """Tell whether a string stands for a class, and not for itself or for a YAML with the settings."""
    if not isinstance(value, str) or str in members(hint) or value.endswith((".yaml", ".yml")):
        return False
    return bool(classes(hint))


def _is_mapping(member: Any) -> bool:
    origin = get_origin(member)
    return isinstance(origin, type) and issubclass(origin, typing.Mapping)


def _is_value(member: type) -> bool:
    """Tell plain values from objects that are built: numbers, paths, enums, dataclasses."""
    if (
        dataclasses.is_dataclass(member)
        or get_origin(member) is not None
        or issubclass(member, enum.Enum)
    ):
        return True
    return member.__module__.partition(".")[0] in sys.stdlib_module_names


def _parameters(function: Callable[..., Any]) -> tuple[dict[str, Setting], bool]:
    function = inspect.unwrap(function)
    hints = typing.get_type_hints(function, include_extras=True)
    parameters = [p for p in inspect.signature(function).parameters.values() if p.name != "self"]
    variable = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    settings = {
        p.name: Setting(hints.get(p.name, Any), p.default is inspect.Parameter.empty)
        for p in parameters
        if p.kind not in variable
    }
    return settings, any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters)


def _has_no_default(field: "dataclasses.Field[Any]") -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
