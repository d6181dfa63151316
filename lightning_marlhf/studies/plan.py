"""Plans: the stages of a study, read from its file and checked before anything runs."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lightning_marlhf.config.suggest import did_you_mean
from lightning_marlhf.config.typed_yaml import parse_tree
from lightning_marlhf.config.yaml_files import ConfigError, Tree, read_yaml
from lightning_marlhf.reporting.spec import SMOKE_RUN, ReportedNumber, ReportRow, ReportSpec, SystemReport
from lightning_marlhf.studies.plan_file import Pipeline, PlanFile, PlanReport, Quick, Row, System
from lightning_marlhf.studies.stages import TASK, Stage, check_stage, find_file

Reported = dict[str, dict[str, dict[str, ReportedNumber]]]  # system -> measure -> run -> number
_COMPARED = ("baseline", "reference_run", "reward_model")  # run references of a report
_EVERY_SYSTEM = "every_system"  # in the file of reported numbers


@dataclass(frozen=True)
class Plan:
    """A study: stages in an order in which they can run."""

    path: Path
    title: str
    output: Path
    stages: tuple[Stage, ...]
    seeds: tuple[int, ...] = (1,)
    jobs: int = 1  # number of concurrent stages
    report: ReportSpec | None = None
    systems: Mapping[str, frozenset[str]] = field(default_factory=dict)  # name -> its stages
    left_out: tuple[str, ...] = ()  # systems for which no other is run

    @property
    def report_folder(self) -> Path:
        """Where the report goes; plans with systems share their runs, but not their reports."""
        return self.output / "paper" / self.path.stem if self.systems else self.output


def read_plan(path: Path, *, quick: bool = False, systems: str | None = None) -> Plan:
    """Read a plan.

    Args:
        path: The YAML. Files that it names are relative to its folder, `output` to the working directory.
        quick: Apply the `quick:` section.
        systems: Replace the plan's `include:` by the file of this name in its folder: other systems for the same rows.

    Raises:
        ConfigError: Names the file and the full key, and what was expected.
    """
    tree = read_yaml(path)
    included: Tree = {}
    other = path
    try:
        if systems is not None:
            if "include" not in tree:
                raise ConfigError("--systems: this plan names its runs, not systems")
            tree = {**tree, "include": f"{systems}.yaml"}
        if isinstance(tree.get("include"), str):
            other = find_file(path.parent / tree["include"], "include")
            included = read_yaml(other)
        file = parse_tree(PlanFile, {**included, **tree})
        if quick and file.quick is None:
            raise ConfigError("the plan has no quick: section")
        changes = file.quick if quick and file.quick else Quick(output=file.output)
        make = _with_rows if file.rows else _with_stages
        return Plan(
            path=path,
            title=file.title if systems is None else f"{file.title} ({systems})",
            output=Path(changes.output),
            seeds=changes.seeds or file.seeds,
            jobs=file.jobs,
            **make(file, path.parent, quick=quick),
        )
    except ConfigError as mistake:
        key = re.match(r"\w*", str(mistake))
        where = other if key and key[0] in included and key[0] not in tree else path
        raise ConfigError(f"{where}: {mistake}") from None


def check_name(name: str, known: Collection[str], *, where: str, what: str) -> str:
    """Return ``name``, one of those that are known.

    Raises:
        ConfigError: It is none of them.
    """
    if name not in known:
        near = did_you_mean(name, known)
        raise ConfigError(f"{where}: no {what} {name!r}{near}; there are {', '.join(known)}")
    return name


def _with_stages(file: PlanFile, folder: Path, *, quick: bool) -> dict[str, Any]:
    """Return the stages and the report of a plan's own stages."""
    own = Pipeline(stages=file.stages, quick=file.quick.set if file.quick else {})
    stages = _read_stages(own, "stages", "quick.set", configs=folder, folder=folder, quick=quick)
    report = None
    if file.report is not None:
        report = _report([_own_report(file.report, stages)], file, quick=quick)
    return {"stages": tuple(stages), "report": report}


def _own_report(report: PlanReport, stages: Sequence[Stage]) -> SystemReport:
    """Check what is reported of a plan's own stages."""
    labels = {stage.name: stage.label or stage.name for stage in stages}
    named = {f"rows.{i}.stage": row.stage for i, row in enumerate(report.rows)}
    named |= {f"evaluations.{i}": stage for i, stage in enumerate(report.evaluations)}
    named |= {key: stage for key in _COMPARED if (stage := getattr(report, key)) is not None}
    for key, stage in named.items():
        check_name(stage, labels, where=f"report.{key}", what="stage")
    rows = [replace(row, label=row.label if row.label != row.stage else labels[row.stage]) for row in report.rows]
    try:
        return SystemReport(**{**vars(report), "rows": rows})
    except ValueError as mistake:
        raise ConfigError(f"report.{mistake}") from None


def _with_rows(file: PlanFile, folder: Path, *, quick: bool) -> dict[str, Any]:
    """Return the stages that the rows of a plan need, their report, and which systems are left out."""
    stages = {name: _stages_of(name, system, file, folder, quick=quick) for name, system in file.systems.items()}
    reported = _read_reported(file, folder)
    reports: dict[str, SystemReport] = {}
    left_out = []
    for number, row in enumerate(file.rows):
        where = f"rows.{number}"
        name = _find_system(row.system, file.systems, where=where)
        if name is None:
            left_out.append(row.system)
        elif name not in reports:
            reports[name] = _system_report(file, row, name, stages[name], reported.get(name), where=where)
    if not reports:
        raise ConfigError(f"rows: no system substitutes {', '.join(left_out)}")
    needed = {name: _all_needs(report, stages[name]) for name, report in reports.items()}
    chosen = [s for name, wanted in needed.items() for s in stages[name] if s.name in wanted]
    return {
        "stages": tuple(chosen),
        "report": _report([*reports.values()], file, quick=quick),
        "systems": needed,
        "left_out": tuple(left_out),
    }


def _report(systems: Sequence[SystemReport], file: PlanFile, *, quick: bool) -> ReportSpec:
    return ReportSpec(systems=systems, sections=file.sections, note=SMOKE_RUN if quick else "")


def _read_stages(
    pipeline: Pipeline,
    where: str,
    where_quick: str,
    *,
    configs: Path,
    folder: Path,
    quick: bool,
    hardware: Mapping[str, Path] | None = None,
) -> list[Stage]:
    """Check the stages of a pipeline, find their files, and set what `quick` changes."""
    stages: dict[str, Stage] = {}
    for number, stage in enumerate(pipeline.stages):
        check_stage(stage, f"{where}.{number}", earlier=tuple(stages))
        try:
            located = stage.located(configs=configs, folder=folder, hardware=hardware or {})
        except ConfigError as mistake:
            raise ConfigError(f"{where}.{number}.{mistake}") from None
        stages[stage.name] = located
    for name, changes in pipeline.quick.items() if quick else ():
        stage = stages[check_name(name, stages, where=where_quick, what="key")]
        stages[name] = replace(stage, set={**stage.set, **changes})
    return [*stages.values()]


def _stages_of(name: str, system: System, file: PlanFile, folder: Path, *, quick: bool) -> list[Stage]:
    """Return all stages of a system, under their full names."""
    where = f"systems.{name}"
    kind = check_name(system.pipeline, file.pipelines, where=f"{where}.pipeline", what="pipeline")
    hardware = {
        config: find_file(folder / overlay, f"{where}.hardware.{config}") for config, overlay in system.hardware.items()
    }
    pipeline, where = file.pipelines[kind], f"pipelines.{kind}"
    tasks = [replace(s, arguments=s.arguments.replace(TASK, system.task)) for s in pipeline.stages]
    stages = _read_stages(
        replace(pipeline, stages=tuple(tasks)),
        f"{where}.stages",
        f"{where}.quick",
        configs=folder / system.configs,
        folder=folder,
        quick=quick,
        hardware=hardware,
    )
    for key in _COMPARED:
        if (stage := getattr(pipeline, key)) is not None:
            names = [stage.name for stage in stages]
            check_name(stage, names, where=f"{where}.{key}", what="stage")
    return [stage.within(name) for stage in stages]


def _find_system(name: str, systems: Mapping[str, System], *, where: str) -> str | None:
    """Find a system, or the one that is run in its place; None if none is, in a file of substitutes."""
    for other, system in systems.items():
        if name in system.substitutes:
            return other
    if any(system.substitutes for system in systems.values()):
        return None
    return check_name(name, systems, where=f"{where}.system", what="system")


def _system_report(
    file: PlanFile,
    row: Row,
    name: str,
    stages: Sequence[Stage],
    reported: dict[str, dict[str, ReportedNumber]] | None,
    *,
    where: str,
) -> SystemReport:
    """Build the report of one system. A substitute has fewer evaluations, and its own label."""
    system, labels = file.systems[name], {s.name.removeprefix(f"{name}/"): s.label for s in stages}
    pipeline = file.pipelines[system.pipeline]
    runs = [check_name(run, labels, where=f"{where}.runs", what="stage") for run in row.runs]
    evaluations = [
        check_name(stage, labels, where=f"{where}.evaluations", what="stage")
        for stage in row.evaluations
        if stage in labels or not system.substitutes
    ]
    compared = {"baseline": pipeline.baseline, "reference_run": pipeline.reference_run}
    return SystemReport(
        name=name,
        label=(row.label if not system.substitutes else "") or system.label,
        rows=[ReportRow(stage=run, label=labels[run]) for run in runs],
        evaluations=evaluations,
        scores=pipeline.scores,
        reward_model=pipeline.reward_model,
        programs=pipeline.programs,
        reported=reported,
        **{key: stage for key, stage in compared.items() if stage in runs},
    )


def _read_reported(file: PlanFile, folder: Path) -> Reported:
    """Read the paper's numbers of each system, those of no system in particular among them."""
    if file.reported is None:
        return {}
    path = find_file(folder / file.reported, "reported")
    try:
        numbers: Reported = parse_tree(Reported, read_yaml(path))
    except ConfigError as mistake:
        raise ConfigError(f"reported: {path.name}: {mistake}") from None
    everywhere = numbers.get(_EVERY_SYSTEM, {})
    return {name: {**everywhere, **numbers.get(name, {})} for name in file.systems}


def _all_needs(report: SystemReport, stages: Sequence[Stage]) -> frozenset[str]:
    """Return the stages of a report and their transitive dependencies."""
    by_name = {stage.name: stage for stage in stages}
    shown = [*(row.stage for row in report.rows), *report.evaluations]
    waiting = [f"{report.name}/{stage}" for stage in shown]
    found: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += by_name[name].needs
    return frozenset(found)
