"""Class paths of a YAML: import the class, or name the nearest one of its kind."""

import importlib
from collections.abc import Sequence

from lightning_marlhf.config.raw_config import ConfigError
from lightning_marlhf.config.suggest import nearest

_OURS = (
    "lightning_marlhf.modules",
    "lightning_marlhf.data",
    "lightning_marlhf.rollout.scoring",
    "lightning_marlhf.rollout.termination",
    "lightning_marlhf.evaluation.judges.configurable",
)
_FOREIGN = ("lightning.", "torch.", "builtins.")
_LISTED = 8  # more classes than this are not listed in an error


def resolve_class(name: str, bases: Sequence[type], *, path: str) -> type:
    """Import the class ``name``.

    Args:
        name: its import path, or the bare name of a class of ours, or of one that is imported already.
        bases: it has to be a subclass of one of these.
        path: of the setting, for the error.

    Raises:
        ConfigError: there is none, or it is of another kind; names the nearest.
    """
    module, _, class_name = name.rpartition(".")
    value = _import(module, class_name, path) if module else _loaded(class_name, bases)
    if value is None:
        raise ConfigError(f"{path}: no class {name!r}{_similar(name, bases)}")
    if not _is_one_of(value, bases):
        expected = " or ".join(base.__name__ for base in bases)
        raise ConfigError(f"{path}: {name} is no {expected}{_similar(name, bases)}")
    return value


def _import(module: str, class_name: str, path: str) -> type | None:
    try:
        value = getattr(importlib.import_module(module), class_name, None)
    except ModuleNotFoundError as error:
        if error.name and not f"{module}.".startswith(f"{error.name}."):
            needs = f"{module} needs the package {error.name!r}, which is not installed"
            raise ConfigError(f"{path}: {needs}") from None
        return None
    return value if isinstance(value, type) else None


def _loaded(class_name: str, bases: Sequence[type]) -> type | None:
    ours = (getattr(importlib.import_module(package), class_name, None) for package in _OURS)
    found = next((value for value in ours if isinstance(value, type)), None)
    return found or next(
        (c for base in bases for c in _subclasses(base) if c.__name__ == class_name), None
    )


def _import_all(package: str) -> None:
    """Import a package, and what it imports only when it is named."""
    module = importlib.import_module(package)
    for name in dir(module):
        getattr(module, name)


def _is_one_of(value: type, bases: Sequence[type]) -> bool:
    try:
        return not bases or issubclass(value, tuple(bases))
    except TypeError:  # a protocol that cannot be checked
        return True


def _subclasses(base: type) -> list[type]:
    return [base, *(c for child in base.__subclasses__() for c in _subclasses(child))]


def _similar(name: str, bases: Sequence[type]) -> str:
    """Look for a class of the same kind with a similar name, first in the module that was named."""
    packages = name.split(".")[:-1]
    parents = [".".join(packages[:length]) for length in range(len(packages), 0, -1)]
    for package in (*parents, *_OURS):
        try:
            _import_all(package)
        except ImportError:
            continue
    known = {f"{c.__module__}.{c.__qualname__}" for base in bases for c in _subclasses(base)}
    public = {_shortest_path(full) for full in known if "._" not in full and "<" not in full}
    ours = sorted(full for full in public if not full.startswith(_FOREIGN)) or sorted(public)
    by_name = {full.rpartition(".")[2]: full for full in ours}
    match = nearest(name.rpartition(".")[2], by_name)
    if match:
        return f", did you mean {by_name[match]!r}?"
    return f"; known: {', '.join(ours)}" if 0 < len(ours) <= _LISTED else ""


def _shortest_path(full: str) -> str:
    """Name a class by the package that re-exports it, as users write it."""
    module, _, name = full.rpartition(".")
    value = getattr(importlib.import_module(module), name, None)
    while "." in module:
        parent = module.rpartition(".")[0]
        if getattr(importlib.import_module(parent), name, None) is not value:
            break
        module = parent
    return f"{module}.{name}"
