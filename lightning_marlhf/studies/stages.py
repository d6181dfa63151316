"""One stage of a plan: a run, or an evaluation of what other stages left."""

import json
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lightning_marlhf.config.suggest import did_you_mean
from lightning_marlhf.config.yaml_files import ConfigError
from lightning_marlhf.run_folder import EXPORT
from lightning_marlhf.studies.plan_checks import (
    check_keys,
    check_name,
    config_file,
    mapping,
    names,
)

RUNS = ("fit", "test")
EVALUATIONS = ("rm-score", "best-of-n", "win-rate", "grade")
SELF = "self"  # {self} is the stage's own folder
KEYS = ("name", "label", "config", "overlays", "command", "inputs", "set", "seed_offset")
_REFERENCE = re.compile(r"\{([^{}\s]+)\}")

Folders = Callable[[str], Path]


@dataclass(frozen=True)
class Stage:
    """One run or evaluation of the plan, for each seed.

    `{stage}` in a value of `set` or in `arguments` stands for the folder of an earlier stage with the same seed.
    """

    name: str  # its folder below the plan's output
    config: Path | None  # None: an evaluation
    command: str = "fit"
    label: str = ""  # in tables
    inputs: Mapping[str, str] = field(default_factory=dict)  # setting -> stage whose export/ it is
    set: Mapping[str, Any] = field(default_factory=dict)  # setting -> value, over the config's
    overlays: tuple[Path, ...] = ()  # further configs, in order
    hardware: tuple[Path, ...] = ()  # the last configs: they change no result
    arguments: str = ""  # of an evaluation, as in a shell
    seed_offset: int = 0  # added to the seed that the run is given, not to its folder's

    @property
    def needs(self) -> tuple[str, ...]:
        """The stages that have to be finished before."""
        text = json.dumps(self.set) + self.arguments
        named = [*self.inputs.values(), *_REFERENCE.findall(text)]
        return tuple(dict.fromkeys(name for name in named if name != SELF))

    @property
    def configs(self) -> tuple[Path, ...]:
        """The files that say what comes out."""
        return () if self.config is None else (self.config, *self.overlays)

    def options(self, folder_of: Folders) -> list[str]:
        """Return the words of the command line that come from the plan.

        Args:
            folder_of: gives the folder of a stage, and of this one by its own name.
        """
        own = {SELF: self.name}

        def folder(match: re.Match[str]) -> str:
            return str(folder_of(own.get(match[1], match[1])))

        if self.config is None:
            return [_REFERENCE.sub(folder, word) for word in shlex.split(self.arguments)]
        exports = {key: str(folder_of(name) / EXPORT) for key, name in self.inputs.items()}
        settings = {**_map_texts(self.set, lambda text: _REFERENCE.sub(folder, text)), **exports}
        return [f"--{key}={_word(value)}" for key, value in settings.items()]

    def within(self, system: str) -> "Stage":
        """Return the stage below the folder ``system``, as are the stages that it refers to."""

        def move(text: str) -> str:
            return _REFERENCE.sub(
                lambda match: match[0] if match[1] == SELF else f"{{{system}/{match[1]}}}", text
            )

        return replace(
            self,
            name=f"{system}/{self.name}",
            inputs={key: f"{system}/{name}" for key, name in self.inputs.items()},
            set=_map_texts(self.set, move),
            arguments=move(self.arguments),
        )


def read_stage(
    entry: Any, where: str, *, folder: Path, configs: Path, earlier: Sequence[str]
) -> Stage:
    """Read one entry of `stages:`.

    Args:
        entry: the parsed YAML.
        where: of it, for messages.
        folder: of the plan; overlays are relative to it.
        configs: what the config is relative to.
        earlier: the names of the stages above this one.

    Raises:
        ConfigError: names the wrong key, stage or value and what was expected.
    """
    if not isinstance(entry, Mapping):
        raise ConfigError(f"{where}: expected name: and config:, got {entry!r}")
    command = check_name(
        entry.get("command", "fit"), (*RUNS, *EVALUATIONS), where=where, what="command"
    )
    evaluates = command in EVALUATIONS
    keys = ("name", "label", "command", "arguments") if evaluates else KEYS
    required = ("name", "arguments") if evaluates else ("name", "config")
    check_keys(entry, keys, required=required, where=where)
    name = str(entry["name"])
    where = f"{where} ({name})"
    if name in (*earlier, SELF) or "/" in name or name.startswith("."):
        raise ConfigError(f"{where}: the name is taken already or is no folder name")
    overlays = names(entry.get("overlays"), f"{where}: overlays")
    stage = Stage(
        name=name,
        label=str(entry.get("label", name)),
        config=None if evaluates else config_file(configs / str(entry["config"]), where),
        command=command,
        inputs=mapping(entry.get("inputs"), f"{where}: inputs"),
        set=mapping(entry.get("set"), f"{where}: set"),
        overlays=tuple(config_file(folder / overlay, where) for overlay in overlays),
        arguments=str(entry.get("arguments", "")),
        seed_offset=int(entry.get("seed_offset", 0)),
    )
    _check_needs(stage, where, earlier=earlier)
    return stage


def _check_needs(stage: Stage, where: str, *, earlier: Sequence[str]) -> None:
    settings = {name: f"inputs.{setting}" for setting, name in stage.inputs.items()}
    for need in stage.needs:
        if need not in earlier:
            known = f"expected an earlier stage: {', '.join(earlier) or 'there is none'}"
            at = settings.get(need, f"{{{need}}}")
            raise ConfigError(f"{where}: {at}: {need!r}{did_you_mean(need, earlier)}; {known}")


def _map_texts(value: Any, change: Callable[[str], str]) -> Any:
    """Return ``value`` with every text in it changed; keys stay."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {key: _map_texts(item, change) for key, item in value.items()}
    return [_map_texts(item, change) for item in value] if isinstance(value, list) else value


def _word(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
