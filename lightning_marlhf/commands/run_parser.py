"""The parser of a run: jsonargparse's, with errors of one line, ranges of numbers, and classes known by their names."""

import functools
import importlib
import itertools
import operator
import re
import sys
from argparse import SUPPRESS
from collections.abc import Sequence
from types import UnionType
from typing import Any, NoReturn, Union, get_args, get_origin

from jsonargparse import Namespace
from lightning.pytorch.cli import LightningArgumentParser

from lightning_marlhf.config import program_name
from lightning_marlhf.config.jsonargparse_errors import class_names, config_files, one_line, readable_types, with_hint
from lightning_marlhf.config.yaml_files import ConfigError, read_yaml
from lightning_marlhf.ranges import find_outside

OF_ONE_SESSION = ("config", "ckpt_path", "overwrite", "debug")  # not saved in config.yaml
# Packages whose classes can be named without their path
NAMED_CLASSES = (
    "lightning_marlhf.modules",
    "lightning_marlhf.data",
    "lightning_marlhf.rollout.scoring",
    "lightning_marlhf.rollout.code_tests",
    "lightning_marlhf.rollout.termination",
    "lightning_marlhf.evaluation.judges.configurable",
    "lightning_marlhf.loggers.trackio",
)


class _ParsingError(ConfigError):
    """What jsonargparse found wrong below `parse_args`, which alone knows the files and their folder."""

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))
        self.message = message


class RunParser(LightningArgumentParser):
    """The parser of a run and, inside it, of each class that a YAML names."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, allow_abbrev=False, **{"prog": program_name(), **kwargs})

    def parse_args(self, args: Sequence[str] | None = None, *more: Any, **options: Any) -> Namespace:
        """Parse a command line.

        `null` for a setting of a class arrives here as `--n=None`: jsonargparse 4.53 writes the parsed value out again.
        """
        words = sys.argv[1:] if args is None else args
        for word, following in itertools.pairwise([*words, "--"]):
            if word.endswith(".help") and following.startswith("--"):
                self._help_of_section(word)
        vars(self).pop("print_config", None)  # of an earlier command line that was wrong
        words = [re.sub(r"^(--[\w.]+)=None$", r"\1=null", word) for word in words]
        try:
            return super().parse_args(words, *more, **options)
        except _ParsingError as mistake:
            for path in config_files(words):
                read_yaml(path)  # names file, line and column
            raise ConfigError(one_line(mistake.message, words)) from None

    def _help_of_section(self, option: str) -> None:
        """Show the settings of `--trainer.help`, or which classes `--model.help` takes, and exit."""
        key = option.removeprefix("--").removesuffix(".help")
        if key in self._hints():
            names = ", ".join(class_names(self._hints()[key]))
            text = f"{option} CLASS shows the settings of one of: {names}\n"
        elif key in self.groups:
            saved = self._action_groups, self.usage
            self._action_groups, self.usage = [self.groups[key]], SUPPRESS
            text = self.format_help()
            self._action_groups, self.usage = saved
        else:
            return
        sys.stdout.write(text)
        self.exit()

    def validate(self, namespace: Namespace, *args: Any, **options: Any) -> None:
        """Check types, required settings, and the ranges of numbers that type hints state."""
        for name in set(self.groups or ()) - set(self._hints()):
            if name in namespace and not isinstance(namespace[name], Namespace):
                raise TypeError(f'Parser key "{name}":\n  expected settings, got {namespace[name]!r}')
        super().validate(namespace, *args, **options)
        for name, hint in self._hints().items():
            mistake = find_outside(namespace.get(name), hint, name)
            if mistake:
                raise TypeError(f'Parser key "{name}":\n  {mistake.partition(": ")[2]}')

    def dump(self, namespace: Namespace, *args: Any, **options: Any) -> str:
        """Write a config as YAML, without the options of one session."""
        if self.exit_on_error:  # the parser of a run, not of a class in it
            kept = vars(namespace).items()
            namespace = Namespace({k: v for k, v in kept if k not in OF_ONE_SESSION})
        return str(super().dump(namespace, *args, **options))

    def format_help(self, *args: Any) -> str:
        """Write the help, with ranges as words."""
        return readable_types(super().format_help(*args))

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise a one-line error: the full key, the closest valid one, and the expected value.

        Raises:
            _ParsingError: By the parser of a run. Parsers of classes only add what they know.
        """
        settings = [action.dest for action in self._actions if action.default != SUPPRESS]
        message = re.sub(r"^--(\S+)\.help: ", r'Parser key "\1":\n  ', message)
        message = with_hint(message, settings, self._hints())
        if not self.exit_on_error:
            super().error(message, ex)
        raise _ParsingError(message) from None

    def try_integers_first(self) -> None:
        """Let `1` be a number of batches, not 100 %, in settings of type `int | float`.

        Python caches `Optional[Union[int, float]]` under the key of `Optional[Union[float, int]]`, so that the order of
        a union's types depends on what was imported before; jsonargparse tries them in their order.
        """
        for action in self._actions:
            hint = getattr(action, "_typehint", None)
            types = list(get_args(hint)) if get_origin(hint) in (Union, UnionType) else []
            if int in types and float in types:
                types.sort(key=lambda kind: kind is not int)
                action._typehint = functools.reduce(operator.or_, types)

    def _hints(self) -> dict[str, Any]:
        return {a.dest: a._typehint for a in self._actions if hasattr(a, "_typehint")}


def import_named_classes() -> None:
    """Import the classes that a YAML may name without their path; data sets are imported when they are looked up."""
    for package in map(importlib.import_module, NAMED_CLASSES):
        for name in dir(package):
            getattr(package, name)
