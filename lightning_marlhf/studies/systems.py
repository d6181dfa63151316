"""The systems that plans of the paper share: the stages of each, so that a run is trained once for all plans."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lightning_marlhf.config.yaml_files import ConfigError, read_yaml
from lightning_marlhf.studies import plan_checks
from lightning_marlhf.studies.plan_checks import check_keys, check_name, mapping, names
from lightning_marlhf.studies.stages import Stage, read_stage

_KEYS = ("output", "seeds", "jobs", "reported", "kinds", "systems", "quick")
_REPORT_KEYS = ("scores", "baseline", "reference_run", "reward_model", "programs")
_SYSTEM_KEYS = ("label", "kind", "configs", "task", "hardware", "substitutes")
_TASK = "{task}"  # in the arguments of an evaluation
_ROW_KEYS = ("system", "label", "runs", "evaluations")
_QUICK_KEYS = ("output", "set")


@dataclass(frozen=True)
class Row:
    """What a plan shows of one system."""

    system: str  # its stages' folders lie below this one
    label: str
    runs: Mapping[str, str]  # stage below the system -> label; these are compared
    evaluations: tuple[str, ...]  # stages below the system
    report: Mapping[str, Any]  # scores, baseline, ...: as in a plan's `report:`
    reported: Mapping[str, Any] | None  # the paper's numbers; None: the paper has no such system
    stages: frozenset[str] = field(repr=False)  # full names of all that it needs


@dataclass(frozen=True)
class System:
    """A task with a model."""

    name: str
    label: str
    report: Mapping[str, Any]
    stages: Mapping[str, Stage]  # by their names below the system
    substitutes: tuple[str, ...]


@dataclass(frozen=True)
class Systems:
    """A file of systems."""

    output: Path
    seeds: tuple[int, ...]
    jobs: int
    reported: Mapping[str, Any] | None
    systems: Mapping[str, System]

    def stages(self, systems: Iterable[str]) -> list[Stage]:
        """Return all stages of some systems, in an order in which they can run."""
        return [
            stage.within(name)
            for name in dict.fromkeys(systems)
            for stage in self.systems[name].stages.values()
        ]

    def rows(self, entries: Any) -> tuple[tuple[Row, ...], tuple[str, ...]]:
        """Read a plan's `rows:`; also return the systems for which none of these stands.

        Raises:
            ConfigError: names the wrong key, system, run or evaluation.
        """
        if not isinstance(entries, list) or not entries:
            raise ConfigError("rows: expected a list of rows")
        rows: dict[str, Row] = {}
        left_out = []
        for number, entry in enumerate(entries):
            where = f"rows.{number}"
            check_keys(entry, _ROW_KEYS, required=("system", "runs"), where=where)
            system = self._system(str(entry["system"]), where)
            if system is None:
                left_out.append(str(entry["system"]))
            elif system.name not in rows:
                rows[system.name] = self._row(entry, system, where=where)
        return tuple(rows.values()), tuple(left_out)

    def _system(self, name: str, where: str) -> System | None:
        """Find a system, or the one that stands for it."""
        standing = [s for s in self.systems.values() if name in s.substitutes]
        if standing:
            return standing[0]
        if any(system.substitutes for system in self.systems.values()):
            return None
        return self.systems[check_name(name, tuple(self.systems), where=where, what="system")]

    def _row(self, entry: Mapping[str, Any], system: System, *, where: str) -> Row:
        known = tuple(system.stages)
        runs, evaluations = (
            tuple(
                check_name(stage, known, where=f"{where}.{key}", what="stage")
                for stage in names(entry.get(key), f"{where}.{key}")
                if stage in known or not (key == "evaluations" and system.substitutes)
            )
            for key in ("runs", "evaluations")
        )
        shown = entry.get("label") if not system.substitutes else None
        reported = self.reported
        if reported is not None:
            reported = {**reported.get("every_system", {}), **reported.get(system.name, {})}
        return Row(
            system=system.name,
            label=str(shown or system.label),
            runs={run: system.stages[run].label for run in runs},
            evaluations=evaluations,
            report=system.report,
            reported=reported,
            stages=frozenset(_all_needs([*runs, *evaluations], system)),
        )


def read_systems(path: Path, *, quick: bool) -> Systems:
    """Read a file of systems.

    Args:
        path: the YAML; files that it names are relative to its folder, `output` to the working directory.
        quick: apply its `quick:` section.

    Raises:
        ConfigError: names the wrong key, stage or value and what was expected.
    """
    tree = read_yaml(path)
    try:
        return _systems(tree, path.parent, quick=quick)
    except ConfigError as mistake:
        raise ConfigError(f"{path.name}: {mistake}") from None


def _systems(tree: Mapping[str, Any], folder: Path, *, quick: bool) -> Systems:
    check_keys(tree, _KEYS, required=("output", "kinds", "systems"), where="")
    changes: Mapping[str, Any] = {}
    output = tree["output"]
    if quick:
        check_keys(tree.get("quick"), _QUICK_KEYS, required=_QUICK_KEYS, where="quick")
        output, changes = tree["quick"]["output"], tree["quick"]["set"]
        check_keys(changes, tuple(tree["kinds"]), where="quick.set")
    reported = None
    if tree.get("reported") is not None:
        reported = read_yaml(plan_checks.config_file(folder / str(tree["reported"]), "reported"))
    systems = {
        str(name): _system(str(name), entry, kinds=tree["kinds"], folder=folder, changes=changes)
        for name, entry in mapping(tree["systems"], "systems").items()
    }
    return Systems(
        output=Path(str(output)),
        seeds=plan_checks.seeds(tree.get("seeds", [1])),
        jobs=plan_checks.positive(tree.get("jobs", 1), "jobs"),
        reported=reported,
        systems=systems,
    )


def _system(
    name: str,
    entry: Any,
    *,
    kinds: Mapping[str, Any],
    folder: Path,
    changes: Mapping[str, Any],
) -> System:
    where = f"systems.{name}"
    check_keys(entry, _SYSTEM_KEYS, required=("label", "kind", "configs"), where=where)
    kind = check_name(entry["kind"], tuple(kinds), where=where, what="kind")
    section = kinds[kind]
    check_keys(
        section, (*_REPORT_KEYS, "stages"), required=("scores", "stages"), where=f"kinds.{kind}"
    )
    stages: dict[str, Stage] = {}
    for number, template in enumerate(section["stages"]):
        stage = read_stage(
            _with_task(template, str(entry.get("task", "general"))),
            f"kinds.{kind}.stages.{number}",
            folder=folder,
            configs=folder / str(entry["configs"]),
            earlier=tuple(stages),
        )
        stages[stage.name] = stage
    stages = _on_hardware(stages, entry.get("hardware"), folder=folder, where=where)
    return System(
        name=name,
        label=str(entry["label"]),
        report={key: section[key] for key in _REPORT_KEYS if key in section},
        stages=_changed(stages, changes.get(kind), where=f"quick.set.{kind}"),
        substitutes=names(entry.get("substitutes"), f"{where}.substitutes"),
    )


def _with_task(template: Any, task: str) -> Any:
    if not isinstance(template, Mapping) or "arguments" not in template:
        return template
    return {**template, "arguments": str(template["arguments"]).replace(_TASK, task)}


def _on_hardware(
    stages: Mapping[str, Stage], files: Any, *, folder: Path, where: str
) -> dict[str, Stage]:
    """Give each run the overlay that is named for its config."""
    overlays = {
        config: config_file
        for config, file in mapping(files, f"{where}.hardware").items()
        for config_file in [plan_checks.config_file(folder / str(file), f"{where}.hardware")]
    }
    return {
        name: replace(stage, hardware=(overlays[stage.config.name],))
        if stage.config is not None and stage.config.name in overlays
        else stage
        for name, stage in stages.items()
    }


def _changed(stages: Mapping[str, Stage], changes: Any, *, where: str) -> dict[str, Stage]:
    settings = mapping(changes, where)
    check_keys(settings, tuple(stages), where=where)
    return {
        name: replace(stage, set={**stage.set, **mapping(settings.get(name), f"{where}.{name}")})
        for name, stage in stages.items()
    }


def _all_needs(wanted: Sequence[str], system: System) -> set[str]:
    """Return the full names of some stages and of all that they start from."""
    found: set[str] = set()
    waiting = list(wanted)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += system.stages[name].needs
    return {f"{system.name}/{name}" for name in found}
