"""Checks of a plan's YAML: which keys it may have, and what their values are."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning_marlhf.config.suggest import did_you_mean
from lightning_marlhf.config.yaml_files import ConfigError


def check_keys(
    tree: Any, known: Sequence[str], *, required: Sequence[str] = (), where: str
) -> None:
    """Refuse what is no mapping, has a key that is not known, or lacks one.

    Raises:
        ConfigError: names the key and the nearest right one.
    """
    prefix = f"{where}: " if where else ""
    if not isinstance(tree, Mapping):
        raise ConfigError(f"{prefix}expected key: value lines, got {tree!r}")
    for key in tree:
        if key not in known:
            raise ConfigError(
                f"{prefix}no key {key!r}{did_you_mean(str(key), known)}; expected {', '.join(known)}"
            )
    for key in required:
        if tree.get(key) is None:
            raise ConfigError(f"{prefix}{key} is missing")


def check_name(name: Any, known: Sequence[str], *, where: str, what: str) -> str:
    """Return ``name``, one of those that are known.

    Raises:
        ConfigError: it is none of them.
    """
    if name not in known:
        raise ConfigError(
            f"{where}: no {what} {name!r}{did_you_mean(str(name), known)}; there are {', '.join(known)}"
        )
    return str(name)


def mapping(value: Any, where: str) -> Mapping[str, Any]:
    """Return a mapping; an empty one for null.

    Raises:
        ConfigError: it is something else.
    """
    if value is not None and not isinstance(value, Mapping):
        raise ConfigError(f"{where}: expected setting: value lines, got {value!r}")
    return value or {}


def names(value: Any, where: str) -> tuple[str, ...]:
    """Return a list of texts; an empty one for null.

    Raises:
        ConfigError: it is something else.
    """
    if value is not None and not (isinstance(value, list) and all(map(_is_text, value))):
        raise ConfigError(f"{where}: expected a list of names, got {value!r}")
    return tuple(value or ())


def positive(value: Any, where: str) -> int:
    """Return a whole number from 1 on.

    Raises:
        ConfigError: it is something else.
    """
    if type(value) is not int or value < 1:
        raise ConfigError(f"{where}: expected a whole number from 1 on, got {value!r}")
    return value


def seeds(value: Any) -> tuple[int, ...]:
    """Return a list of seeds.

    Raises:
        ConfigError: it is not a list of different whole numbers.
    """
    whole = isinstance(value, Sequence) and all(type(seed) is int and seed >= 0 for seed in value)
    if not whole or not value or len(set(value)) < len(value):
        raise ConfigError(
            f"seeds: expected a list of different whole numbers such as [1, 2, 3], got {value!r}"
        )
    return tuple(value)


def config_file(path: Path, where: str) -> Path:
    """Return the path of a file that is there, without `..` in it.

    Raises:
        ConfigError: it is not; names the most similar one beside it.
    """
    path = Path(os.path.normpath(path))
    if not path.is_file():
        there = [file.name for file in path.parent.glob("*.yaml")] if path.parent.is_dir() else []
        similar = did_you_mean(path.name, there)
        raise ConfigError(f"{where}: no config file {str(path)!r}{similar}")
    return path


def _is_text(value: Any) -> bool:
    return isinstance(value, str)
