"""The command line and its YAML files as one plain tree, merged in their order.

Values are read, not judged: `config_check` finds wrong keys in the tree, jsonargparse wrong values. jsonargparse does
not merge them itself: it refuses `null` for a nested option, and takes unknown keys of dataclasses without a word.
"""

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

Tree = dict[str, Any]
FLAGS = ("--help", "-h", "--print_config", "--debug")
_CLASS_KEYS = ("class_path", "init_args", "dict_kwargs")
_CLASS_NAME = re.compile(r"([A-Za-z_]\w*\.)*[A-Z]\w*")  # `package.module.Class` or `Class`


class ConfigError(ValueError):
    """A wrong key or value on the command line or in a YAML: one line, exit status 2."""


class _Loader(yaml.SafeLoader):
    """Refuses a key that is there twice, of which YAML readers keep the last without a word."""

    def compose_mapping_node(self, anchor: str | None) -> yaml.MappingNode:
        """Read a mapping, before what `<<` names is merged into it."""
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        there: set[tuple[str, str]] = set()
        for key, _ in node.value:
            name = (key.tag, str(key.value))
            if name in there:
                raise yaml.MarkedYAMLError(
                    problem=f"the key {key.value!r} is there twice", problem_mark=key.start_mark
                )
            there.add(name)
        return node


@dataclass(frozen=True)
class Source:
    """One file or option of the command line, in order."""

    name: str  # "x.yaml" or "command line"
    tree: Tree


def sources(arguments: Sequence[str]) -> Iterator[Source]:
    """Yield what ``arguments`` set, in their order.

    Raises:
        ConfigError: a missing file, wrong YAML, or a word that is no option.
    """
    words = list(arguments)
    while words:
        word = words.pop(0)
        if word.split("=")[0] in FLAGS:
            continue
        if not word.startswith("-"):
            raise ConfigError(f"{word!r} is not an option (options look like --key value)")
        key, given, value = word.partition("=")
        if not given and words and not words[0].startswith("--"):
            value = words.pop(0)
        if key in ("--config", "-c"):
            yield Source(value, _with_parts(read_yaml(Path(value)), Path(value).parent))
        else:
            yield Source(
                "", _with_parts(_nested(key.lstrip("-"), _scalar(value or "true")), Path())
            )


def read_yaml(path: Path) -> Tree:
    """Read one YAML file that holds a mapping.

    Raises:
        ConfigError: the file is missing, is not YAML or holds something else; names file, line and column.
    """
    if not path.is_file():
        raise ConfigError(f"no config file {str(path)!r}{_similar_file(path)}")
    try:
        tree = _Loader(path.read_text(encoding="utf-8")).get_single_data()
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


def merge(
    old: Any, new: Any, *, accepted: Callable[[str], Collection[str]] = lambda name: ()
) -> Any:
    """Merge ``new`` into ``old``: mappings key by key, everything else replaced; `key+: x` appends to a list.

    A short key under a class (`--model.lr`) is put into its `init_args`. Another `class_path` keeps the settings that
    the new class has too.

    Args:
        old: the tree so far.
        new: what goes before it.
        accepted: class path -> the settings it has.
    """
    old, new = _as_class(old, beside=new), _as_class(new, beside=old)
    if not isinstance(old, Mapping) or not isinstance(new, Mapping):
        return new
    if "class_path" in old and not any(key in new for key in _CLASS_KEYS):
        new = {"init_args": new}
    if new.get("class_path", old.get("class_path")) != old.get("class_path"):
        known = accepted(new["class_path"])
        old = {"init_args": {k: v for k, v in (old.get("init_args") or {}).items() if k in known}}
    merged = dict(old)
    for key, value in new.items():
        if isinstance(key, str) and key.endswith("+"):
            before = merged.get(key[:-1]) or []
            merged[key[:-1]] = [*before, *(value if isinstance(value, list) else [value])]
        else:
            merged[key] = merge(merged.get(key), value, accepted=accepted)
    return merged


def look_up(tree: Any, path: str) -> Any:
    """Return the value at a dotted path; None where there is none."""
    for key in path.split("."):
        tree = tree.get(key) if isinstance(tree, Mapping) else None
    return tree


def find_paths(tree: Any, suffix: str) -> list[tuple[str, Any]]:
    """Return every path of ``tree`` that ends with ``suffix`` when `init_args` is left out, and its value."""
    wanted = "." + suffix.replace(".init_args", "")
    return [
        (path, value)
        for path, value in _paths(tree, "")
        if ("." + path).replace(".init_args", "").endswith(wanted)
    ]


def _paths(tree: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    if isinstance(tree, Mapping):
        for key, value in tree.items():
            path = f"{prefix}.{key}" if prefix else str(key)
            yield path, value
            yield from _paths(value, path)


def _as_class(value: Any, *, beside: Any) -> Any:
    """Write a class that was given by its name alone as a mapping, where the other side has settings for it."""
    if isinstance(value, str) and isinstance(beside, Mapping) and _CLASS_NAME.fullmatch(value):
        return {"class_path": value}
    return value


def _with_parts(tree: Tree, folder: Path) -> Tree:
    """Read sections that are given as files of their own: `model: parts/model.yaml`."""
    return {
        key: read_yaml(folder / value)
        if isinstance(value, str) and value.endswith((".yaml", ".yml"))
        else value
        for key, value in tree.items()
    }


def _nested(dotted: str, value: Any) -> Tree:
    for key in reversed(dotted.split(".")):
        value = {key: value}
    return value  # type: ignore[no-any-return]


def _scalar(text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError):
        return text


def _similar_file(path: Path) -> str:
    from lightning_marlhf.config.suggest import nearest

    folder = path.parent
    if not folder.is_dir():
        return f" (there is no folder {str(folder)!r})"
    match = nearest(
        path.name,
        [f.name for f in folder.iterdir() if f.suffix in (".yaml", ".yml") and f.is_file()],
    )
    return f", did you mean {str(folder / match)!r}?" if match else ""
