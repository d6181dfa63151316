"""Plan files: the stages of a study, checked before anything runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lightning_marlhf.commands.raw_config import ConfigError, read_yaml
from lightning_marlhf.commands.suggest import did_you_mean

_PLAN_KEYS = ("title", "output", "seeds", "jobs", "stages", "quick", "report")
_STAGE_KEYS = ("name", "config", "command", "inputs", "set")
_QUICK_KEYS = ("output", "seeds", "set")
_COMMANDS = ("fit", "test")


@dataclass(frozen=True)
class Stage:
    """One run of the plan, for each seed."""

    name: str
    config: Path
    command: str = "fit"  # or "test"
    inputs: Mapping[str, str] = field(default_factory=dict)  # setting -> stage whose export/ it is
    set: Mapping[str, Any] = field(default_factory=dict)  # setting -> value, over the config's


@dataclass(frozen=True)
class Plan:
    """A study: stages in an order in which they can run."""

    path: Path
    title: str
    output: Path
    stages: tuple[Stage, ...]
    seeds: tuple[int, ...] = (1,)
    jobs: int = 1  # how many stages may run side by side
    report: Mapping[str, Any] = field(default_factory=dict)
    quick: bool = False


def read_plan(path: Path, *, quick: bool = False) -> Plan:
    """Read a plan.

    Args:
        path: the YAML; the configs in it are relative to its folder, `output` to the working directory.
        quick: apply the plan's `quick:` section (smaller settings, another output folder).

    Raises:
        ConfigError: names the wrong key, stage or value and what was expected.
    """
    tree = read_yaml(path)
    try:
        plan = _plan(tree, path)
        if quick:
            plan = _apply_quick(plan, tree.get("quick"))
        _check_report(plan)
    except ConfigError as mistake:
        raise ConfigError(f"{path}: {mistake}") from None
    return plan


def _plan(tree: Mapping[str, Any], path: Path) -> Plan:
    _check_keys(tree, _PLAN_KEYS, required=("title", "output", "stages"), where="")
    if not isinstance(tree["stages"], list) or not tree["stages"]:
        raise ConfigError("stages: expected a list of stages")
    stages: list[Stage] = []
    for number, entry in enumerate(tree["stages"]):
        stages.append(
            _stage(entry, f"stages.{number}", folder=path.parent, earlier=[s.name for s in stages])
        )
    return Plan(
        path=path,
        title=str(tree["title"]),
        output=Path(str(tree["output"])),
        stages=tuple(stages),
        seeds=check_seeds(tree.get("seeds", [1])),
        jobs=_positive(tree.get("jobs", 1), "jobs"),
        report=tree.get("report") or {},
    )


def check_seeds(seeds: Any) -> tuple[int, ...]:
    """Check a list of seeds.

    Raises:
        ConfigError: it is not a list of different whole numbers.
    """
    whole = isinstance(seeds, Sequence) and all(type(seed) is int and seed >= 0 for seed in seeds)
    if not whole or not seeds or len(set(seeds)) < len(seeds):
        raise ConfigError(
            f"seeds: expected a list of different whole numbers such as [1, 2, 3], got {seeds!r}"
        )
    return tuple(seeds)


def _stage(entry: Any, where: str, *, folder: Path, earlier: Sequence[str]) -> Stage:
    if not isinstance(entry, Mapping):
        raise ConfigError(f"{where}: expected name: and config:, got {entry!r}")
    _check_keys(entry, _STAGE_KEYS, required=("name", "config"), where=where)
    name, command = str(entry["name"]), str(entry.get("command", "fit"))
    where = f"{where} ({name})"
    if name in earlier or "/" in name or name.startswith("."):
        raise ConfigError(f"{where}: the name is taken already or is no folder name")
    if command not in _COMMANDS:
        raise ConfigError(f"{where}: command {command!r}; expected {' or '.join(_COMMANDS)}")
    config = folder / str(entry["config"])
    if not config.is_file():
        raise ConfigError(f"{where}: no config file {str(config)!r}{_similar(config)}")
    inputs, settings = (
        _mapping(entry.get("inputs"), f"{where}: inputs"),
        _mapping(entry.get("set"), f"{where}: set"),
    )
    for setting, stage in inputs.items():
        if stage not in earlier:
            known = f"expected an earlier stage: {', '.join(earlier) or 'there is none'}"
            raise ConfigError(
                f"{where}: inputs.{setting}: {stage!r}{did_you_mean(str(stage), earlier)}; {known}"
            )
    return Stage(name, config, command, inputs, settings)


def _apply_quick(plan: Plan, quick: Any) -> Plan:
    if not isinstance(quick, Mapping):
        raise ConfigError("the plan has no quick: section")
    _check_keys(quick, _QUICK_KEYS, required=("output",), where="quick")
    settings = _mapping(quick.get("set"), "quick.set")
    _check_keys(settings, [stage.name for stage in plan.stages], required=(), where="quick.set")
    stages = tuple(
        replace(
            stage,
            set={**stage.set, **_mapping(settings.get(stage.name), f"quick.set.{stage.name}")},
        )
        for stage in plan.stages
    )
    seeds = check_seeds(quick["seeds"]) if "seeds" in quick else plan.seeds
    return replace(plan, stages=stages, output=Path(str(quick["output"])), seeds=seeds, quick=True)


def _check_report(plan: Plan) -> None:
    names = [stage.name for stage in plan.stages]
    rows = plan.report.get("rows") or []
    shown = {
        f"report.rows.{i}.stage": row.get("stage")
        for i, row in enumerate(rows)
        if isinstance(row, Mapping)
    }
    shown |= {
        f"report.{key}": plan.report.get(key)
        for key in ("baseline", "reference_run", "reward_model")
    }
    for where, stage in shown.items():
        if stage is not None and stage not in names:
            raise ConfigError(f"{where}: no stage {stage!r}{did_you_mean(str(stage), names)}")


def _check_keys(
    tree: Mapping[str, Any], known: Sequence[str], *, required: Sequence[str], where: str
) -> None:
    prefix = f"{where}: " if where else ""
    for key in tree:
        if key not in known:
            raise ConfigError(
                f"{prefix}no key {key!r}{did_you_mean(str(key), known)}; expected {', '.join(known)}"
            )
    for key in required:
        if tree.get(key) is None:
            raise ConfigError(f"{prefix}{key} is missing")


def _mapping(value: Any, where: str) -> Mapping[str, Any]:
    if value is not None and not isinstance(value, Mapping):
        raise ConfigError(f"{where}: expected setting: value lines, got {value!r}")
    return value or {}


def _positive(value: Any, where: str) -> int:
    if type(value) is not int or value < 1:
        raise ConfigError(f"{where}: expected a whole number from 1 on, got {value!r}")
    return value


def _similar(path: Path) -> str:
    there = [file.name for file in path.parent.glob("*.yaml")] if path.parent.is_dir() else []
    return did_you_mean(path.name, there)
