"""An argument parser that complains in one line: the wrong key or value, the nearest right one, what was expected."""

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NoReturn

from jsonargparse import Namespace
from lightning.pytorch.cli import LightningArgumentParser

from lightning_marlhf.commands import config_check
from lightning_marlhf.commands.class_names import resolve_class
from lightning_marlhf.commands.raw_config import ConfigError, find_paths, look_up, merge, sources
from lightning_marlhf.commands.signatures import settings_of
from lightning_marlhf.commands.suggest import did_you_mean

_RELATIVE_KEY = re.compile(r'^(?P<indent> *)Parser key "(?P<key>[^"]+)"', re.MULTILINE)
_EXPECTED = re.compile(r"Expected an? (.+?)(?:\. Got value|$)", re.MULTILINE)
_SUBTYPES = re.compile(r"Subtypes: \[(.+)\]")
_GOT = re.compile(r"(?:Got value|Given value): (.+)")
_MAX_LENGTH = 300


class RunParser(LightningArgumentParser):
    """The parser of fit, validate, test and predict."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.tree: dict[str, Any] = {}
        self.schema: dict[str, Any] = {}

    def read(self, arguments: Sequence[str], *, linked: Sequence[str]) -> Namespace:
        """Read the command line and its files; wrong keys and classes are refused before values are looked at.

        Args:
            arguments: the command line.
            linked: paths that must not be set by hand, since `seed_everything` sets them.

        Returns:
            The resolved config.

        Raises:
            ConfigError: names what is wrong, where, and the nearest right one.
        """
        for source in sources(arguments):
            self.tree = merge(self.tree, source.tree, accepted=_settings)
            self._check_source(source.name)
        if "--print_config" not in arguments:
            self._check_whole(linked)
        return self.parse_object(self.tree)

    def _check_source(self, name: str) -> None:
        try:
            config_check.check_keys(self.tree, self.schema)
        except ConfigError as mistake:
            raise ConfigError(f"{name}: {mistake}" if name else str(mistake)) from None

    def _check_whole(self, linked: Sequence[str]) -> None:
        for key in ("model", "data"):
            if key not in self.tree:
                raise ConfigError(f"{key} is missing: give --config FILE (see experiments/)")
        if not (self.tree.get("trainer") or {}).get("default_root_dir"):
            example = "e.g. --trainer.default_root_dir runs/mine"
            raise ConfigError(
                f"trainer.default_root_dir is missing: the folder of this run, {example}"
            )
        config_check.check_complete(self.tree, self.schema, linked=linked)
        seed = self.tree.get("seed_everything", self.get_default("seed_everything"))
        for path in linked:
            given = look_up(self.tree, path)
            if given is not None and given != seed:
                raise ConfigError(
                    f"{path}: {given} differs from seed_everything ({seed}), which sets it"
                )

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Say what jsonargparse found wrong in one line."""
        if not self.exit_on_error:
            super().error(message, ex)
        raise ConfigError(one_line(message, self.tree)) from None


def _settings(class_path: str) -> Collection[str]:
    try:
        return settings_of(resolve_class(class_path, (), path="class_path")) or ()
    except ConfigError:  # said better when the whole key is known
        return ()


def one_line(message: str, tree: Mapping[str, Any]) -> str:
    """Put jsonargparse's message into one line with the whole path of the key.

    Args:
        message: what `ArgumentParser.error` was given; its keys are relative to the innermost class.
        tree: the raw config, where the whole path is looked up.
    """
    key, detail = _innermost(message)
    if key is None:
        return " ".join(message.split())[:_MAX_LENGTH]
    found = find_paths(tree, key)
    got = _GOT.search(detail)
    value = got.group(1).strip() if got else None
    path = next((p for p, v in found if str(v) == value), found[0][0] if found else key)
    options = _options(detail)
    if not options:
        return f"{path}: {' '.join(detail.split())}"[:_MAX_LENGTH]
    near = did_you_mean(value, [o.strip("'") for o in options]) if value else ""
    return f"{path}: expected {' or '.join(options)}, got {value!r}{near}"[:_MAX_LENGTH]


def _innermost(message: str) -> tuple[str | None, str]:
    """Return the whole key that an indented message ends at, and what is said about it."""
    chain: list[re.Match[str]] = []
    for found in _RELATIVE_KEY.finditer(message):
        chain = [outer for outer in chain if len(outer["indent"]) < len(found["indent"])]
        chain.append(found)
    if not chain:
        return None, message
    detail = message[chain[-1].end() :].lstrip(":")
    return ".".join(found["key"] for found in chain), detail


def _options(message: str) -> list[str]:
    """Return readable names of the types that a value should have had."""
    found = _SUBTYPES.search(message) or _EXPECTED.search(message)
    if found is None:
        return []
    text = re.sub(r"<class '([\w.]+)'>", lambda m: m.group(1).rpartition(".")[2], found.group(1))
    text = text.replace("NoneType", "null").replace("typing.", "")
    text = re.sub(r"Annotated\[(\w+), [^\]]+\]", r"\1", text)  # whose range is another check's
    literal = re.search(r"Literal\[(.+?)\]", text)
    rest = re.sub(r"Literal\[.+?\]", "", text)
    optional = re.fullmatch(r"Optional\[(.+)\]", rest)
    words = [
        *(literal.group(1) if literal else "").split(", "),
        *(optional.group(1) if optional else rest).split(", "),
    ]
    return [word for word in words if word.strip()] + (["null"] if optional else [])
