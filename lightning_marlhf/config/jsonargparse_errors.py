"""One-line error messages for jsonargparse: the full key, the closest valid one, expected and given value.

jsonargparse nests its complaints as indented text, one level per class that the wrong value stands in:

    Parser key "model":
      Problem with given class_path 'toy.Toy':
        Parser key "updates.lr":
          Expected a <class 'float'>. Got value: fast

`one_line` reads the deepest level. What only the parser of a level knows, such as its other settings, `with_hint` adds
to the text on its way up.
"""

import importlib
import inspect
import itertools
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from lightning_marlhf.config.suggest import did_you_mean, nearest
from lightning_marlhf.config.yaml_files import ConfigError, read_yaml

_LEVEL = re.compile(
    r"^(?P<indent> *)(?:- )?(?:Parser key \"(?P<key>[^\"]+)\"|Problem with given class_path '(?P<cls>[^']*)')[^:\n]*:",
    re.MULTILINE,
)
_UNKNOWN = re.compile(r"(?:Group '([^']+)' does not accept option|Option) '([^']+)'")
_UNRECOGNIZED = re.compile(r"unrecognized arguments: (\S+)")
_VALUELESS = re.compile(r"argument --(\S+): expected one argument")
_MISSING = re.compile(r"the following arguments are required: ([^\n]+)")
_NO_KEY = re.compile(r"(?:Key must be a string, got:|Spaces not allowed in keys:|Empty nested key:) \"?(.*?)\"?\.?$")
_NO_CLASS = re.compile(r"module \S+ has no attribute|No module named|Unexpected import path format")
_NO_CLASS_OF_NAME = re.compile(r"Expected a dot import path string: *(.*?) *$", re.MULTILINE)
_IMPORT_PATH = re.compile(r"Import path (\S+) does not")
_OTHER_CLASS = re.compile(r"does not (?:correspond to a subclass of|implement protocol) (\w+)")
_GOT = re.compile(r"(?:Got value|Given value): ?(.*)")
_NOT_A_PATH = re.compile(r"^ *- Expected a path but .*$\n?", re.MULTILINE)
_HINT = re.compile(r" \[hint: (.*?)\]$", re.MULTILINE)
_CLASS_KEYS = ("class_path", "init_args", "dict_kwargs")
_CONFIG = ("--config", "-c")
_LISTED = 12  # more settings, classes or values than this are not listed
_MAX_LENGTH = 300


@dataclass(frozen=True)
class _ParseError:
    """The deepest level of a message."""

    path: str  # of the setting
    inside: str  # path of the settings of its value, if that is a class
    cls: str | None  # class path of its value, if that is what the level is about
    detail: str
    end: int  # of the detail in the message
    num_levels: int


def one_line(message: str, arguments: Sequence[str] = ()) -> str:
    """Put jsonargparse's message into one line with the full path of the key.

    Args:
        message: What `ArgumentParser.error` was given.
        arguments: The command line; a key that stands in one of its files is reported with the file.
    """
    found = _deepest(message)
    hint = next(iter(_HINT.findall(found.detail)), "")
    detail = _NOT_A_PATH.sub("", _HINT.sub("", found.detail)).strip()
    unknown, missing = _unknown_key(detail), _MISSING.search(detail)
    valueless, no_key = _VALUELESS.match(detail), _NO_KEY.match(detail)
    if valueless:
        return f"{valueless[1]}: expected a value"
    if no_key:
        paths = ((file, path) for file in config_files(arguments) for path, _ in _paths(read_yaml(file)))
        where = next((file for file, path in paths if path.rpartition(".")[2] == no_key[1]), "a config file")
        return f"{where}: {no_key[1]!r} cannot be a key"
    if unknown:
        path, line = _about_key(found, unknown, hint, arguments)
    elif missing:
        path, line = _about_missing(found, missing[1].split(", "))
    elif _is_about_class(found):
        path, line = _about_class(found, detail, hint)
    else:
        path, line = found.path, _about_value(detail)
    given = find_given(arguments, path) if path else None
    source = f"{given[0]}: " if given and given[0] else ""
    key = f"{path} " if line.startswith("is missing") else f"{path}: " if path else ""
    return f"{source}{key}{line}"[:_MAX_LENGTH]


def with_hint(message: str, options: Sequence[str], hints: Mapping[str, Any]) -> str:
    """Add to a message what the parser that raised it knows: a similar setting, or a similar class.

    Args:
        message: What `ArgumentParser.error` was given.
        options: The parser's settings, dotted.
        hints: Setting -> its type.
    """
    found = _deepest(message)
    unknown = _unknown_key(found.detail)
    if _HINT.search(found.detail):
        return message
    if unknown and found.num_levels == 0:
        hint = _similar_key(unknown, options)
    elif _is_about_class(found) and found.path in hints:
        hint = _similar_class(_class_name(found), hints[found.path])
    else:
        return message
    return f"{message[: found.end]} [hint: {hint}]{message[found.end :]}"


def find_given(arguments: Sequence[str], path: str) -> tuple[str, Any] | None:
    """Find where a key was set: the file ("" for an option) and the value; None if it was not set.

    Args:
        arguments: The command line.
        path: Of the key; `init_args` may be missing in the file or option.
    """
    wanted = path.replace(".init_args", "")
    found: tuple[str, Any] | None = None
    for key, value in _options_of(arguments):
        if key in _CONFIG:
            try:
                tree = read_yaml(Path(value))
            except ConfigError:
                continue
            for path_there, given in _paths(tree):
                if path_there == wanted:
                    found = (value, given)
                elif wanted.startswith(f"{path_there}.") and not isinstance(given, Mapping):
                    found = (value, None)
            continue
        option = key[2:].replace(".init_args", "").removesuffix(".help").rstrip("+")
        if option == wanted:
            found = ("", value)
        elif wanted.startswith(f"{option}."):  # replaces the section
            found = None
    return found


def class_names(hint: Any, *, foreign: bool = True) -> list[str]:
    """Return the names of the classes that a setting takes, as far as they are imported.

    Args:
        hint: The type of the setting.
        foreign: Those of Lightning and PyTorch, too.
    """
    others = () if foreign else ("lightning.", "torch.")
    named = (c for c in _known(hint) if not c.__module__.startswith(others) and not inspect.isabstract(c))
    return sorted({cls.__name__ for cls in named if not cls.__name__.startswith("_")})


def readable_types(text: str) -> str:
    """Write types in jsonargparse's help as words: `Annotated[int, at least 1]` as `int at least 1`."""
    text = re.sub(r"Annotated\[(\w+),(\s+)([^\]]+)\]", r"\1\2\3", text)
    text = re.sub(r"<class\s+'(?:\w+\.)*(\w+)'>", r"\1", text)
    return re.sub(r"Optional\[((?:[^\[\]]|\[[^\[\]]*\])+)\]", r"\1 or null", text)


def config_files(arguments: Sequence[str]) -> list[Path]:
    """Return the files of `--config`, in their order."""
    return [Path(value) for key, value in _options_of(arguments) if key in _CONFIG and value]


def _options_of(arguments: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield `--key value` and `--key=value`."""
    for word, following in itertools.pairwise([*arguments, ""]):
        key, equals, value = word.partition("=")
        if key.startswith("-"):
            yield key, value if equals else following


def _paths(tree: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every path of a tree, without `init_args`, and its value."""
    if isinstance(tree, Mapping):
        for key, value in tree.items():
            path = prefix if key == "init_args" else f"{prefix}.{key}".lstrip(".").rstrip("+")
            yield path, value
            yield from _paths(value, path)


def _deepest(message: str) -> _ParseError:
    """Read the deepest level of an indented message."""
    outer: list[re.Match[str]] = []
    levels: list[re.Match[str]] = []
    for level in _LEVEL.finditer(message):
        outer = [other for other in outer if len(other["indent"]) < len(level["indent"])]
        outer.append(level)
        levels = list(outer) if len(outer) > len(levels) else levels
    if not levels:
        return _ParseError("", "", None, message, len(message.partition("\n")[0]), 0)
    start, indent = levels[-1].end(), len(levels[-1]["indent"])
    first, *rest = message[start:].splitlines(keepends=True) or [""]
    detail = first
    for line in rest:
        dedented = line.strip() and len(line) - len(line.lstrip()) <= indent
        if dedented and detail.strip():
            break
        detail += line
    return _ParseError(
        path=_path(message, levels[:-1] if levels[-1]["cls"] else levels),
        inside=_path(message, levels),
        cls=levels[-1]["cls"],
        detail=detail.rstrip(),
        end=start + len(detail.rstrip()),
        num_levels=len(levels),
    )


def _path(message: str, levels: Sequence[re.Match[str]]) -> str:
    """Join the keys of nested levels; `init_args` follows a class that is not implied."""
    parts: list[str] = []
    for level in levels:
        if level["key"]:
            parts += [] if parts[-1:] == [level["key"]] else [level["key"]]
        elif f"<class '{level['cls']}'>" not in message[: level.start()]:
            parts.append("init_args")
    return ".".join(parts)


def _unknown_key(detail: str) -> str | None:
    unknown = _UNKNOWN.search(detail)
    if unknown:
        return ".".join(filter(None, unknown.groups()))
    unrecognized = _UNRECOGNIZED.search(detail)
    return unrecognized[1].partition("=")[0] if unrecognized else None


def _about_key(found: _ParseError, key: str, hint: str, arguments: Sequence[str]) -> tuple[str, str]:
    """Name the first unknown part of a key, and what may have been meant."""
    if found.num_levels == 0 and not key.startswith("--") and key in arguments:
        return "", f"{key!r} is not an option (options look like --key value)"
    if key in _CLASS_KEYS:
        given = find_given(arguments, found.path)
        beside = [k for k in (given and given[1]) or () if k not in _CLASS_KEYS] or [key]
        near = did_you_mean(str(beside[0]), _CLASS_KEYS)
        near = near or "; settings go under init_args"
        return f"{found.path}.{beside[0]}", f"unexpected next to class_path{near}"
    inside = f"{found.inside}." if found.cls else ""
    wrong, similar, known = (hint or f"{key}||").split("|")
    section, _, word = wrong.lstrip("-").rpartition(".")
    owner = section.rpartition(".")[2] or _owner(found) or "the configuration"
    line = f"{owner} has no {word!r}"
    if similar and similar.rpartition(".")[0] == section:
        line += f", did you mean {similar.rpartition('.')[2]!r}?"
    elif similar:
        line += f", did you mean {inside + similar!r}?"
    elif known:
        line += f"; it has: {known}"
    return inside + wrong.lstrip("-"), line


def _owner(found: _ParseError) -> str:
    return (found.cls or "").rpartition(".")[2]


def _similar_key(key: str, options: Sequence[str]) -> str:
    """Return the first unknown part of a dotted key, the nearest setting, and the settings there if they are few."""
    inside = ""
    for part in key.lstrip("-").split("."):
        there = sorted({o[len(inside) :].split(".")[0] for o in options if o.startswith(inside)})
        if part not in there:
            deeper = [o for o in options if o.startswith(inside) and o.endswith(f".{part}")]
            near = nearest(part, there)
            similar = deeper[0] if deeper else inside + near if near else ""
            known = ", ".join(there) if len(there) <= _LISTED else ""
            return f"{inside}{part}|{similar}|{known}"
        inside += f"{part}."
    return f"{key}||"


def _about_missing(found: _ParseError, keys: Sequence[str]) -> tuple[str, str]:
    if not found.cls:
        key = "model" if "model" in keys else keys[0]
        return key, "is missing: give --config FILE (see experiments/)"
    first, *rest = (f"{found.inside}.{key}" for key in keys)
    also = f" (also missing: {', '.join(rest)})" if rest else ""
    return first, f"is missing: {_owner(found)} needs it{also}"


def _is_about_class(found: _ParseError) -> bool:
    patterns = (_NO_CLASS if found.cls else _NO_CLASS_OF_NAME, _OTHER_CLASS)
    return any(pattern.search(found.detail) for pattern in patterns)


def _class_name(found: _ParseError) -> str:
    """Return the class path that was given; in the errors of a union jsonargparse leaves it out."""
    detail = _HINT.sub("", found.detail)
    named = _NO_CLASS_OF_NAME.search(detail) or _IMPORT_PATH.search(detail) or _GOT.search(detail)
    return found.cls or (named[1] if named else "")


def _about_class(found: _ParseError, detail: str, hint: str) -> tuple[str, str]:
    name, other = _class_name(found), _OTHER_CLASS.search(detail)
    path = f"{found.path}.class_path"
    if other:
        return path, f"{name} is no {other[1]}{hint}"
    if name.endswith((".yaml", ".yml")):
        return found.path, f"no config file {name!r}"
    lacks = _missing_package(name)
    if lacks:
        return path, f"{name} needs the package {lacks!r}, which is not installed"
    return path, f"no class {name!r}{hint}"


def _missing_package(class_path: str) -> str | None:
    """Return the package without which the module of a class cannot be imported, if that is another one."""
    module = class_path.rpartition(".")[0]
    try:
        importlib.import_module(module or "sys")
    except ModuleNotFoundError as error:
        if error.name and not f"{module}.".startswith(f"{error.name}."):
            return error.name
    return None


def _similar_class(name: str, hint: Any) -> str:
    """Name a similar class: of the module that was named, or of the kind that the setting takes."""
    module, _, wrong = name.rpartition(".")
    kinds = set(_known(hint))
    there = vars(sys.modules[module]) if module in sys.modules else {}
    match = nearest(wrong, [n for n, c in there.items() if isinstance(c, type) and c in kinds])
    if match:
        return f", did you mean {f'{module}.{match}'!r}?"
    ours = class_names(hint, foreign=False)
    few = f"; known: {', '.join(ours)}" if 0 < len(ours) <= _LISTED else ""
    return did_you_mean(wrong, class_names(hint)) or few


def _known(hint: Any) -> Iterator[type]:
    """Yield the classes that a type hint accepts: the subclasses of each class in it, or the class itself."""
    for part in get_args(hint):
        yield from _known(part)
    if isinstance(hint, type) and hint.__module__.partition(".")[0] not in sys.stdlib_module_names:
        children = hint.__subclasses__() or [hint]
        while children:
            yield (child := children.pop(0))
            children += child.__subclasses__()


def _about_value(detail: str) -> str:
    """Describe the expected and the given value, with the closest choice."""
    if "object has no attribute" in detail:  # jsonargparse reads `init_args: 5` as settings
        return "init_args: expected settings"
    no_mapping = re.match(r"Unable to load config ['\"](.+?)['\"]\s", f"{detail}\n")
    if no_mapping:
        return f"expected settings, or a YAML file with them, got {no_mapping[1]!r}"
    got = _GOT.search(detail)
    options = list(_options(detail))
    if not options or not got:
        return " ".join(detail.removeprefix("argument ").split())
    value = re.sub(r"NestedArg\(key='(.+?)', val=(.+)\)", r"\1: \2", got[1].strip())
    near = did_you_mean(value, [option.strip("'") for option in options])
    if near and len(options) > _LISTED:
        return f"got {value!r}{near}"
    return f"expected {' or '.join(options)}, got {value!r}{near}"


def _options(detail: str) -> Iterator[str]:
    """Yield readable names of the types and words that a value could have been."""
    found = re.search(r"Subtypes: \[(.+)\]", detail)
    found = found or re.search(r"Expected an? (.+?)(?:\. Got value|$)", detail, re.MULTILINE)
    if not found:
        return
    text = re.sub(r"<class '([\w.]+)'>", lambda m: m[1].rpartition(".")[2], found[1])
    text = text.replace("NoneType", "null").replace("typing.", "")
    text = re.sub(r"Annotated\[(\w+), [^\]]+\]", r"\1", text)  # the range is checked elsewhere
    text, optional = re.sub(r"^Optional\[(.+)\]$", r"\1", text), text.startswith("Optional[")
    for words in re.findall(r"Literal\[(.+?)\]", text):
        yield from words.split(", ")
    rest = re.sub(r"Literal\[.+?\](, )?", "", text)
    yield from filter(str.strip, rest.split(", "))
    if optional:
        yield "null"
