"""Finds a wrong key, class, number or missing setting in a raw config, by the signatures of what it would build.

Other values of leaves are left to jsonargparse.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from lightning_marlhf.config.class_names import resolve_class
from lightning_marlhf.config.raw_config import ConfigError
from lightning_marlhf.config.signatures import (
    Setting,
    classes,
    item_hint,
    names_class,
    settings_of,
    structs,
    value_hint,
)
from lightning_marlhf.config.suggest import did_you_mean, nearest
from lightning_marlhf.ranges import find_outside

_CLASS_KEYS = ("class_path", "init_args", "dict_kwargs")
_LISTED = 12  # more settings than this are not listed in an error


@dataclass(frozen=True)
class Group:
    """A section of the config that holds the arguments of ``target``."""

    target: Callable[..., Any]


def check_keys(tree: Mapping[str, Any], schema: Mapping[str, Any]) -> None:
    """Check every key, class and range of ``tree``.

    Args:
        tree: the raw config.
        schema: top-level key -> `Group` or type.

    Raises:
        ConfigError: names the first wrong key or class, and the nearest right one, or number, and its range.
    """
    settings = {key: Setting(hint, required=False) for key, hint in schema.items()}
    _check_settings(tree, settings, path="", owner="the configuration")


def check_complete(
    tree: Mapping[str, Any], schema: Mapping[str, Any], *, linked: Iterable[str] = ()
) -> None:
    """Check that no required setting of a class is missing.

    Args:
        tree: the raw config, whose keys are right.
        schema: as for `check_keys`.
        linked: paths that are filled in by other settings.

    Raises:
        ConfigError: names the first missing setting.
    """
    for key, hint in schema.items():
        if isinstance(hint, Group):
            if isinstance(tree.get(key), Mapping):
                _check_given(tree[key], hint.target, path=key, linked=set(linked))
        else:
            _check_required(tree.get(key), hint, path=key, linked=set(linked))


def _check_settings(
    values: Mapping[str, Any], settings: Mapping[str, Setting], *, path: str, owner: str
) -> None:
    for key, value in values.items():
        where = f"{path}.{key}" if path else str(key)
        if key not in settings:
            raise ConfigError(
                f"{where}: {owner} has no {key!r}{_instead(str(key), settings, path)}"
            )
        _check(value, settings[key].hint, where)


def _instead(key: str, settings: Mapping[str, Setting], path: str) -> str:
    if key in _CLASS_KEYS:
        return "; its settings stand here directly"
    deeper = [f"{name}.{key}" for name, s in settings.items() if key in _nested_names(s.hint)]
    if deeper:
        return f", did you mean {'.'.join(filter(None, [path, deeper[0]]))!r}?"
    near = did_you_mean(key, settings)
    if near or len(settings) > _LISTED:
        return near
    return f"; it has: {', '.join(settings)}" if settings else "; it has no settings"


def _nested_names(hint: Any) -> set[str]:
    targets = [hint.target] if isinstance(hint, Group) else structs(hint)
    return {name for target in targets for name in settings_of(target) or ()}


def _check(value: Any, hint: Any, path: str) -> None:
    if isinstance(hint, Group):
        _check_arguments(value, hint.target, path)
    elif isinstance(value, Mapping):
        _check_mapping(value, hint, path)
    elif isinstance(value, list):
        for number, item in enumerate(value):
            _check(item, item_hint(hint), f"{path}.{number}")
    elif names_class(value, hint):
        resolve_class(value, classes(hint), path=path)
    elif mistake := find_outside(value, hint, path):
        raise ConfigError(mistake)


def _check_mapping(value: Mapping[str, Any], hint: Any, path: str) -> None:
    if "class_path" in value or ("init_args" in value and classes(hint)):
        _check_object(value, hint, path)
    elif structs(hint):
        best = max(
            structs(hint), key=lambda struct: len(set(value) & set(settings_of(struct) or ()))
        )
        _check_arguments(value, best, path)
    elif value_hint(hint) is not None:
        for key, item in value.items():
            _check(item, value_hint(hint), f"{path}.{key}")
    elif classes(hint):
        for key in value:  # settings of a default class, or a misspelt class_path
            if nearest(str(key), _CLASS_KEYS):
                raise ConfigError(f"{path}.{key}: unexpected{did_you_mean(str(key), _CLASS_KEYS)}")


def _check_object(value: Mapping[str, Any], hint: Any, path: str) -> None:
    for key in value:
        if key not in _CLASS_KEYS:
            instead = did_you_mean(str(key), _CLASS_KEYS) or "; settings stand under init_args"
            raise ConfigError(f"{path}.{key}: unexpected beside class_path{instead}")
    if "class_path" in value:
        bases = [*classes(hint), *structs(hint)]
        found = resolve_class(str(value["class_path"]), bases, path=f"{path}.class_path")
        _check_arguments(value.get("init_args"), found, f"{path}.init_args")


def _check_arguments(values: Any, target: Callable[..., Any], path: str) -> None:
    settings = settings_of(target)
    if isinstance(values, Mapping) and settings is not None:
        _check_settings(values, settings, path=path, owner=getattr(target, "__name__", str(target)))


def _check_required(value: Any, hint: Any, *, path: str, linked: set[str]) -> None:
    if names_class(value, hint):
        value = {"class_path": value}
    if not isinstance(value, Mapping):
        return
    if "class_path" in value:
        target = resolve_class(
            str(value["class_path"]), [*classes(hint), *structs(hint)], path=path
        )
        _check_given(value.get("init_args") or {}, target, path=f"{path}.init_args", linked=linked)
    elif len(structs(hint)) == 1:
        _check_given(value, structs(hint)[0], path=path, linked=linked)


def _check_given(
    values: Mapping[str, Any], target: Callable[..., Any], *, path: str, linked: set[str]
) -> None:
    for name, setting in (settings_of(target) or {}).items():
        where = f"{path}.{name}"
        if setting.required and name not in values and where not in linked:
            raise ConfigError(f"{where} is missing: {getattr(target, '__name__', target)} needs it")
        _check_required(values.get(name), setting.hint, path=where, linked=linked)
