"""The options of a command as a dataclass: its fields are the schema, its docstring is the help.

    @dataclass(frozen=True, kw_only=True)
    class GenerateOptions:
        '''Sample responses to prompts.

Args:
            model: A run, an export or a Hub id.
            prompts: Texts; without them, lines of standard input.
            num_samples: Responses per prompt.
            sampling: Flattened: its fields are options of the command, too.
        '''

        model: str = positional()
        prompts: list[str] = positional(many=True)
        num_samples: PositiveInt = 1
        sampling: SamplingOptions = SamplingOptions()

    options = read_options(GenerateOptions, ["runs/mine", "Hello", "--num-samples", "4"], command="generate")

Reading and type checks are jsonargparse's. A field `num_samples` is the option `--num-samples`; a bool that is False by
default is a switch; a list takes several words, or the option several times.
"""

import dataclasses
import json
import re
import typing
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar, get_args, get_origin

import docstring_parser
from jsonargparse import ArgumentParser, Namespace

from lightning_marlhf.config import program_name
from lightning_marlhf.config.jsonargparse_errors import one_line, readable_types
from lightning_marlhf.config.suggest import did_you_mean
from lightning_marlhf.config.yaml_files import ConfigError
from lightning_marlhf.ranges import find_outside

Options = TypeVar("Options")
_POSITIONAL = "positional"


def positional(*, many: bool = False, default: Any = dataclasses.MISSING) -> Any:
    """Declare a field that is given by its place, not by `--name`.

    Args:
        many: Any number of words, as a list.
        default: Makes a single word optional.
    """
    if many:
        return dataclasses.field(default_factory=list, metadata={_POSITIONAL: True})
    return dataclasses.field(default=default, metadata={_POSITIONAL: True})


def read_options(options: type[Options], arguments: Sequence[str], *, command: str) -> Options:
    """Read a command line.

    Args:
        options: A dataclass; fields that are dataclasses are flattened; a subclass need not repeat its base's `Args`.
        arguments: The words after the command.
        command: Its name, for the help.

    Raises:
        ConfigError: An unknown or missing option, a wrong type, or a number out of range; names the option, what was
            expected and what was given.
        SystemExit: `--help` was printed.
    """
    fields = list(_fields(options))
    parser = _parser(options, fields, command)
    parsed = parser.parse_args(_expand_lists(arguments, fields))
    for field in fields:
        if field.item and field.default is dataclasses.MISSING and not parsed[field.name]:
            raise ConfigError(_missing(field))
        mistake = find_outside(parsed[field.name], field.hint, field.word)
        if mistake:
            raise ConfigError(mistake)
    return _build(options, parsed)


def split_options(options: type, arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Separate a command's own options from the words of another parser, such as the settings of `fit`.

    Args:
        options: A dataclass, as for `read_options`.
        arguments: The words after the command.

    Returns:
        The words for `read_options`, and the others in their order.
    """
    fields = {field.word: field for field in _fields(options)}
    ours: list[str] = []
    others: list[str] = []
    words = list(arguments)
    while words:
        name, equals, _ = words[0].partition("=")
        field = fields.get(name)
        known = field is not None or name in ("-h", "--help")
        taken = [words.pop(0)]
        while field and not equals and field.hint is not bool and words:
            if len(taken) > 1 and (not field.item or words[0].startswith("--")):
                break
            taken.append(words.pop(0))
        (ours if known else others).extend(taken)
    return ours, others


@dataclass(frozen=True)
class _Field:
    """One option, flattened from nested dataclasses."""

    name: str
    hint: Any
    default: Any  # MISSING: required
    help: str
    positional: bool

    @property
    def word(self) -> str:
        """Its name on the command line."""
        return self.name if self.positional else f"--{self.name.replace('_', '-')}"

    @property
    def item(self) -> Any:
        """The type of a list's items; None if it is no list."""
        is_list = get_origin(self.hint) in (list, tuple)
        return get_args(self.hint)[0] if is_list else None


class _Parser(ArgumentParser):
    """Raises one-line errors."""

    fields: Sequence["_Field"] = ()

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise a `ConfigError` that names the option, what was expected and what was given."""
        raise ConfigError(_one_line(message, self.fields)) from None

    def format_help(self, *args: Any) -> str:
        """Write the help, with types as words and without jsonargparse's `--k+`."""
        return re.sub(r", --[\w-]+\+ [^\n]*", "", readable_types(super().format_help(*args)))


def _fields(options: type, default: Any = dataclasses.MISSING) -> Iterator[_Field]:
    hints = typing.get_type_hints(options, include_extras=True)
    inherited = [docstring_parser.parse(each.__doc__ or "") for each in reversed(options.__mro__)]
    helps = {each.arg_name: each.description or "" for doc in inherited for each in doc.params}
    for field in dataclasses.fields(options):
        value = field.default
        if field.default_factory is not dataclasses.MISSING:
            value = field.default_factory()
        if default is not dataclasses.MISSING:
            value = getattr(default, field.name)
        hint = hints[field.name]
        if dataclasses.is_dataclass(hint):
            yield from _fields(hint, value)
        else:
            words = " ".join(helps.get(field.name, "").split())
            yield _Field(field.name, hint, value, words, _POSITIONAL in field.metadata)


def _parser(options: type, fields: Sequence[_Field], command: str) -> _Parser:
    parser = _Parser(
        prog=f"{program_name()} {command}",
        description=docstring_parser.parse(options.__doc__ or "").description,
        allow_abbrev=False,
    )
    parser.fields = fields
    for field in sorted(fields, key=lambda each: each.default is not dataclasses.MISSING):
        _add(parser, field)  # required ones first
    return parser


def _add(parser: _Parser, field: _Field) -> None:
    given: dict[str, Any] = {"help": field.help}
    required = field.default is dataclasses.MISSING
    if field.positional and field.item:
        given |= {"nargs": "*", "type": field.item, "default": []}
    elif field.positional:
        given |= {"type": field.hint} | ({} if required else {"nargs": "?", "default": field.default})
    elif field.hint is bool and field.default is False:
        given |= {"action": "store_true"}
    elif field.item:
        default = [] if required else list(field.default)
        metavar = f"{field.name.upper()} ..."
        given |= {"type": list[field.item], "default": default, "metavar": metavar}  # type: ignore[name-defined]
    else:
        given |= {"type": field.hint, "default": None if required else field.default}
    if required and not field.positional:
        given["required"] = True
    parser.add_argument(field.word, **given)


def _expand_lists(arguments: Sequence[str], fields: Sequence[_Field]) -> list[str]:
    """Write `--k 1 5` as `--k=[1] --k+=[5]`: the first value replaces the default, the others are appended.

    If words without a name may follow that the option could take for its own, it takes one word each time.
    """
    lists = {field.word: field for field in fields if field.item and not field.positional}
    by_place = [field for field in fields if field.positional]
    words, spelt = list(arguments), []
    given_before: set[str] = set()
    while words:
        name, given, value = words.pop(0).partition("=")
        if name not in lists:
            spelt.append(name + given + value)
            continue
        values = [value] if given else []
        while not given and words and not words[0].startswith("--"):
            values.append(words.pop(0))
            if any(field.item or lists[name].item is str for field in by_place):
                break
        if not values:
            raise ConfigError(f"{name}: expected a value")
        quote = lists[name].item is str
        items = [json.dumps([each]) if quote else f"[{each}]" for each in values]
        spelt += [f"{name}{'+=' if name in given_before else '='}{items[0]}"]
        spelt += [f"{name}+={each}" for each in items[1:]]
        given_before.add(name)
    return spelt


def _one_line(message: str, fields: Sequence[_Field]) -> str:
    """Name the option as it is given, and the nearest one to one that does not exist."""
    words = {field.name: field.word for field in fields}
    unknown = re.match(r"unrecognized arguments: (\S+)", message)
    if unknown:
        name = unknown[1].partition("=")[0]
        near = did_you_mean(name, words.values())
        return f"{name}: no such option{near or '; expected one of: ' + ', '.join(words.values())}"
    missing = re.match(r"the following arguments are required: ([^\n]+)", message)
    if missing:
        names = missing[1].split(", ")
        return "; ".join(_missing(field) for field in fields if field.name in names)
    key, _, rest = one_line(message).partition(":")
    return f"{words.get(key.replace('-', '_'), key)}:{rest}" if rest else key


def _missing(field: _Field) -> str:
    what = field.help.partition(". ")[0].rstrip(".")
    return f"{field.word} is missing{f' ({what})' if what else ''}"


def _build(options: type[Options], parsed: Namespace) -> Options:
    hints = typing.get_type_hints(options, include_extras=True)
    values: dict[str, Any] = {}
    for field in dataclasses.fields(options):  # type: ignore[arg-type]
        hint = hints[field.name]
        if dataclasses.is_dataclass(hint):
            values[field.name] = _build(hint, parsed)  # type: ignore[arg-type]
        else:
            value = parsed[field.name]
            values[field.name] = tuple(value) if get_origin(hint) is tuple else value
    return options(**values)
