"""Reads YAML files into plain mappings, with one-line errors."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import get_loader, set_loader

from lightning_marlhf.config.suggest import nearest

Tree = dict[str, Any]
_load_scalar_or_mapping = get_loader("yaml")


class ConfigError(ValueError):
    """A wrong key or value on the command line or in a YAML: one line, exit status 2."""


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """YAML 1.1, except that `1e-5` is a number, as in YAML 1.2 and in jsonargparse."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def read_yaml(path: Path) -> Tree:
    """Read one YAML file that holds a mapping.

    Raises:
        ConfigError: The file is missing, is not YAML, has a key twice or holds no mapping; names the place.
    """
    if not path.is_file():
        raise ConfigError(f"no config file {str(path)!r}{_similar_file(path)}")
    try:
        text = path.read_text(encoding="utf-8")
        refuse_duplicate_keys(text)
        tree = yaml.load(text, Loader=_Loader)  # noqa: S506  a SafeLoader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
        raise ConfigError(f"{path}{where}: not valid YAML: {error.problem}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise ConfigError(f"{path}: expected `key: value` lines, got a {type(tree).__name__}")
    return tree


def look_up(tree: Any, path: str) -> Any:
    """Return the value at a dotted path; None if there is none."""
    for key in path.split("."):
        tree = tree.get(key) if isinstance(tree, Mapping) else None
    return tree


def leaves(tree: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the dotted path and the value of every leaf; an empty mapping is a leaf."""
    if isinstance(tree, Mapping) and tree:
        for key, value in tree.items():
            yield from leaves(value, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, tree


def refuse_duplicate_keys(text: str) -> None:
    """Refuse a mapping with the same key twice, of which YAML readers silently keep the last.

    Raises:
        MarkedYAMLError: Names the key and its place.
    """
    nodes, seen = [yaml.compose(text, Loader=_Loader)], set()
    while nodes:
        node = nodes.pop()
        if not isinstance(node, yaml.CollectionNode) or id(node) in seen:
            continue
        seen.add(id(node))  # an alias is the same node again
        if isinstance(node, yaml.SequenceNode):
            nodes += node.value
            continue
        names: set[tuple[str, str]] = set()
        for key, value in node.value:
            name = (key.tag, str(key.value))
            if name in names:
                raise yaml.MarkedYAMLError(problem=f"the key {key.value!r} is duplicated", problem_mark=key.start_mark)
            names.add(name)
            nodes.append(value)


def _load(text: str) -> Any:
    """Read a config file, or the value of an option, for jsonargparse."""
    if "\n" in text or "{" in text:
        refuse_duplicate_keys(text)
    value = _load_scalar_or_mapping(text)
    empty = value is None and (not text.strip() or text.lstrip().startswith("#"))
    return {} if empty else value


set_loader("yaml", _load, exceptions=(yaml.YAMLError, ValueError, RecursionError))


def _similar_file(path: Path) -> str:
    folder = path.parent
    if not folder.is_dir():
        return f" (there is no folder {str(folder)!r})"
    match = nearest(path.name, [f.name for f in folder.iterdir() if f.suffix in (".yaml", ".yml") and f.is_file()])
    return f", did you mean {str(folder / match)!r}?" if match else ""
