"""One stage of a plan: a training run, or an evaluation of other stages' outputs."""

import json
import os
import re
import shlex
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

from lightning_marlhf.config.suggest import did_you_mean
from lightning_marlhf.config.yaml_files import ConfigError
from lightning_marlhf.run_folder import EXPORT

Evaluation = Literal["rm-score", "best-of-n", "win-rate", "grade"]
EVALUATIONS: tuple[str, ...] = get_args(Evaluation)
SELF = "self"  # {self} is the stage's own folder
TASK = "{task}"  # of the system, in arguments
_REFERENCE = re.compile(r"\{([^{}\s]+)\}")

Folders = Callable[[str], Path]


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One run or evaluation of a plan, for each seed.

    `{stage}` in a value of `set` or in `arguments` is replaced by the folder of an earlier stage with the same seed.

    Args:
        name: Its folder below the folder of the plan or system.
        config: The YAML of a run. None for an evaluation.
        command: What is run.
        label: Name in reports; by default the stage's.
        overlays: Further configs, in their order.
        hardware: The last configs, which change no result: a run with others is the same run.
        inputs: Setting -> the earlier stage whose `export/` it is.
        set: Setting -> value, over the configs.
        arguments: Command line of an evaluation, as in a shell.
        seed_offset: Added to the seed that the run is given, not to that of its folder.

    Raises:
        ValueError: A run has no config, an evaluation no arguments, or one has an option of the other.
    """

    name: str
    config: Path | None = None
    command: Literal["fit", "test", "rm-score", "best-of-n", "win-rate", "grade"] = "fit"
    label: str = ""
    overlays: tuple[Path, ...] = ()
    hardware: tuple[Path, ...] = ()
    inputs: dict[str, str] = field(default_factory=dict)
    set: dict = field(default_factory=dict)  # type: ignore[type-arg]  # so that values stay as they are
    arguments: str = ""
    seed_offset: int = 0

    def __post_init__(self) -> None:
        runs, evaluates = ("config", "overlays", "hardware", "inputs", "set"), ("arguments",)
        needed, others = (evaluates, runs) if self.evaluates else (runs[:1], evaluates)
        for key in others:
            if getattr(self, key):
                raise ValueError(f"{key}: {self.command} has no such option; it needs {', '.join(needed)}")
        if not getattr(self, needed[0]):
            raise ValueError(f"{needed[0]} is missing")

    @property
    def evaluates(self) -> bool:
        """Whether it evaluates what other stages left."""
        return self.command in EVALUATIONS

    @property
    def configs(self) -> tuple[Path, ...]:
        """The configs that determine the result."""
        return () if self.config is None else (self.config, *self.overlays)

    @property
    def references(self) -> Iterator[tuple[str, str]]:
        """The stages that it depends on, each with the key that names it."""
        for setting, stage in self.inputs.items():
            yield f"inputs.{setting}", stage
        texts = {f"set.{key}": json.dumps(value) for key, value in self.set.items()}
        for key, text in {**texts, "arguments": self.arguments}.items():
            yield from ((key, stage) for stage in _REFERENCE.findall(text) if stage != SELF)

    @property
    def needs(self) -> tuple[str, ...]:
        """The stages that it depends on."""
        return tuple(dict.fromkeys(stage for _, stage in self.references))

    def config_words(self) -> list[str]:
        """Return the `--config FILE` words of a run; none for an evaluation."""
        files = (*self.configs, *self.hardware)
        return [word for file in files for word in ("--config", str(file))]

    def options(self, folder_of: Folders) -> list[str]:
        """Return the further words of the command line.

        Args:
            folder_of: Gives the folder of a stage, and of this one by its own name.
        """

        def folder(match: re.Match[str]) -> str:
            return str(folder_of(self.name if match[1] == SELF else match[1]))

        if self.evaluates:
            return [_REFERENCE.sub(folder, word) for word in shlex.split(self.arguments)]
        exports = {key: str(folder_of(name) / EXPORT) for key, name in self.inputs.items()}
        settings = {**_map_texts(self.set, lambda text: _REFERENCE.sub(folder, text)), **exports}
        return [f"--{key}={_word(value)}" for key, value in settings.items()]

    def located(self, *, configs: Path, folder: Path, hardware: Mapping[str, Path]) -> "Stage":
        """Return the stage with the paths of its files, and on its system's hardware.

        Args:
            configs: What the config is relative to.
            folder: What overlays are relative to.
            hardware: Name of a config -> the overlay that it gets.

        Raises:
            ConfigError: A file is not there; begins with the key.
        """
        if self.config is None:
            return self
        files = [find_file(folder / path, f"overlays.{i}") for i, path in enumerate(self.overlays)]
        own = [find_file(folder / path, f"hardware.{i}") for i, path in enumerate(self.hardware)]
        given = [hardware[self.config.name]] if self.config.name in hardware else []
        return replace(
            self, config=find_file(configs / self.config, "config"), overlays=tuple(files), hardware=(*own, *given)
        )

    def within(self, system: str) -> "Stage":
        """Return the stage in the folder ``system``, as are the stages that it refers to."""

        def move(text: str) -> str:
            return _REFERENCE.sub(lambda match: match[0] if match[1] == SELF else f"{{{system}/{match[1]}}}", text)

        return replace(
            self,
            name=f"{system}/{self.name}",
            label=self.label or self.name,
            inputs={key: f"{system}/{name}" for key, name in self.inputs.items()},
            set=_map_texts(self.set, move),
            arguments=move(self.arguments),
        )


def check_stage(stage: Stage, where: str, *, earlier: Collection[str]) -> None:
    """Check a stage's name and its references.

    Raises:
        ConfigError: Begins with the full key.
    """
    name = stage.name
    if name in earlier:
        raise ConfigError(f"{where}.name: the name is taken: {name!r} is an earlier stage")
    if not name or name == SELF or "/" in name or name.startswith("."):
        raise ConfigError(f"{where}.name: expected the name of a folder, got {name!r}")
    for key, need in stage.references:
        if need not in earlier:
            known = f"expected an earlier stage: {', '.join(earlier) or 'there is none'}"
            near = did_you_mean(need, earlier)
            raise ConfigError(f"{where}.{key}: no stage {need!r}{near}; {known}")


def find_file(path: Path, key: str) -> Path:
    """Return the path of a file that is there, without `..` in it.

    Raises:
        ConfigError: It is not; names the most similar one in its folder.
    """
    path = Path(os.path.normpath(path))
    if not path.is_file():
        there = [file.name for file in path.parent.glob("*.yaml")] if path.parent.is_dir() else []
        similar = did_you_mean(path.name, there)
        raise ConfigError(f"{key}: no config file {str(path)!r}{similar}")
    return path


def _map_texts(value: Any, change: Callable[[str], str]) -> Any:
    """Return ``value`` with every text in it changed; keys stay."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {key: _map_texts(item, change) for key, item in value.items()}
    return [_map_texts(item, change) for item in value] if isinstance(value, list) else value


def _word(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
