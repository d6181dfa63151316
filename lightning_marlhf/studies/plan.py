"""Plans: the stages of a study, read from its file and checked before anything runs."""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lightning_marlhf.config.raw_config import ConfigError, Tree, read_yaml
from lightning_marlhf.config.suggest import did_you_mean
from lightning_marlhf.config.typed_yaml import parse_tree
from lightning_marlhf.reporting.spec import (
    SMOKE_RUN,
    ReportedNumber,
    ReportRow,
    ReportSpec,
    SystemReport,
)
from lightning_marlhf.studies.plan_file import (
    Comparison,
    PlanFile,
    Quick,
    ReportedFile,
    Row,
    System,
)
from lightning_marlhf.studies.stages import TASK, Stage, check_stage, find_file

_EVERY_SYSTEM = "every_system"  # in the file of reported numbers


@dataclass(frozen=True)
class Plan:
    """A study: stages in an order in which they can run."""

    path: Path
    title: str
    output: Path
    stages: tuple[Stage, ...]
    seeds: tuple[int, ...] = (1,)
    jobs: int = 1  # how many stages may run side by side
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
        systems: Include the file of this name beside the plan in place of its own: other systems for the same rows.

    Raises:
        ConfigError: Names the file and the whole key, and what was expected.
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
        plan = _with_rows(file, path, quick=quick) if file.rows else _with_stages(file, path, quick)
        report = plan.report and replace(plan.report, note=SMOKE_RUN if quick else "")
        title = plan.title if systems is None else f"{plan.title} ({systems})"
        return replace(plan, title=title, report=report)
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


def _with_stages(file: PlanFile, path: Path, quick: bool) -> Plan:
    folder, changes = path.parent, _quick(file, quick).set
    stages = _located(file.stages, "stages", configs=folder, folder=folder)
    stages = _changed(stages, changes, where="quick.set")
    report = None
    if file.report is not None:
        labels = {stage.name: stage.label or stage.name for stage in stages}
        shown = {f"rows.{i}.stage": row.stage for i, row in enumerate(file.report.rows)}
        shown |= {f"evaluations.{i}": stage for i, stage in enumerate(file.report.evaluations)}
        _check_stages(file.report, labels, where="report", shown=shown)
        rows = [
            replace(row, label=labels[row.stage]) if row.label == row.stage else row
            for row in file.report.rows
        ]
        try:
            system = _system_report(file.report, rows, file.report.evaluations)
        except ValueError as mistake:
            raise ConfigError(f"report.{mistake}") from None
        report = ReportSpec(systems=[system], sections=file.sections)
    return _plan(file, path, quick=quick, stages=stages, report=report)


def _with_rows(file: PlanFile, path: Path, *, quick: bool) -> Plan:
    stages = dict(_stages_of_systems(file, path.parent, quick=quick))
    reported = _read_reported(file, path.parent)
    reports: dict[str, SystemReport] = {}
    needed: dict[str, frozenset[str]] = {}
    left_out = []
    for number, row in enumerate(file.rows):
        name = _find_system(row.system, file.systems, where=f"rows.{number}.system")
        if name is None:
            left_out.append(row.system)
        elif name not in reports:
            reports[name] = _report(
                file, row, name, stages[name], reported.get(name), where=f"rows.{number}"
            )
            needed[name] = _all_needs(reports[name], stages[name])
    if not reports:
        raise ConfigError(f"rows: no system substitutes {', '.join(left_out)}")
    chosen = [s for name, wanted in needed.items() for s in stages[name] if s.name in wanted]
    spec = ReportSpec(systems=[*reports.values()], sections=file.sections)
    plan = _plan(file, path, quick=quick, stages=chosen, report=spec)
    return replace(plan, systems=needed, left_out=tuple(left_out))


def _plan(
    file: PlanFile, path: Path, *, quick: bool, stages: Sequence[Stage], report: ReportSpec | None
) -> Plan:
    changes = _quick(file, quick)
    return Plan(
        path=path,
        title=file.title,
        output=Path(changes.output),
        stages=tuple(stages),
        seeds=changes.seeds or file.seeds,
        jobs=file.jobs,
        report=report,
    )


def _quick(file: PlanFile, quick: bool) -> Quick:
    if not quick:
        return Quick(output=file.output)
    if file.quick is None:
        raise ConfigError("the plan has no quick: section")
    return file.quick


def _located(
    stages: Sequence[Stage],
    where: str,
    *,
    configs: Path,
    folder: Path,
    hardware: Mapping[str, Path] | None = None,
) -> list[Stage]:
    """Check stages of one file, and find their files."""
    located: list[Stage] = []
    for number, stage in enumerate(stages):
        check_stage(stage, f"{where}.{number}", earlier=[each.name for each in located])
        try:
            located.append(stage.located(configs=configs, folder=folder, hardware=hardware or {}))
        except ConfigError as mistake:
            raise ConfigError(f"{where}.{number}.{mistake}") from None
    return located


def _changed(stages: Sequence[Stage], changes: Mapping[str, Any], *, where: str) -> list[Stage]:
    """Set more of some stages."""
    known = [stage.name for stage in stages]
    for name in changes:
        check_name(name, known, where=where, what="key")
    return [replace(stage, set={**stage.set, **changes.get(stage.name, {})}) for stage in stages]


def _check_stages(
    comparison: Comparison, stages: Collection[str], *, where: str, shown: Mapping[str, str]
) -> None:
    """Refuse a report that names a stage which is not there."""
    named = {key: getattr(comparison, key) for key in ("baseline", "reference_run", "reward_model")}
    for key, stage in {**shown, **named}.items():
        if stage is not None:
            check_name(stage, stages, where=f"{where}.{key}", what="stage")


def _system_report(
    comparison: Comparison, rows: Sequence[ReportRow], evaluations: Sequence[str], **system: Any
) -> SystemReport:
    compared = {"baseline": comparison.baseline, "reference_run": comparison.reference_run}
    return SystemReport(
        rows=rows,
        evaluations=evaluations,
        scores=comparison.scores,
        reward_model=comparison.reward_model,
        programs=comparison.programs,
        **{key: stage for key, stage in compared.items() if stage in {row.stage for row in rows}},
        **system,
    )


def _stages_of_systems(
    file: PlanFile, folder: Path, *, quick: bool
) -> Iterator[tuple[str, list[Stage]]]:
    """Yield each system with all its stages, under their full names."""
    for name, system in file.systems.items():
        where = f"systems.{name}"
        kind = check_name(
            system.pipeline, file.pipelines, where=f"{where}.pipeline", what="pipeline"
        )
        pipeline = file.pipelines[kind]
        hardware = {
            config: find_file(folder / overlay, f"{where}.hardware.{config}")
            for config, overlay in system.hardware.items()
        }
        stages = _located(
            [replace(s, arguments=s.arguments.replace(TASK, system.task)) for s in pipeline.stages],
            f"pipelines.{kind}.stages",
            configs=folder / system.configs,
            folder=folder,
            hardware=hardware,
        )
        changes = pipeline.quick if quick else {}
        stages = _changed(stages, changes, where=f"pipelines.{kind}.quick")
        names = [stage.name for stage in stages]
        _check_stages(pipeline, names, where=f"pipelines.{kind}", shown={})
        yield name, [stage.within(name) for stage in stages]


def _find_system(name: str, systems: Mapping[str, System], *, where: str) -> str | None:
    """Find a system, or the one that is run in its place; None where none is, in a file of substitutes."""
    for other, system in systems.items():
        if name in system.substitutes:
            return other
    if any(system.substitutes for system in systems.values()):
        return None
    return check_name(name, systems, where=where, what="system")


def _report(
    file: PlanFile,
    row: Row,
    name: str,
    stages: Sequence[Stage],
    reported: Mapping[str, Mapping[str, ReportedNumber]] | None,
    *,
    where: str,
) -> SystemReport:
    """Say what the report shows of one system. A substitute has fewer evaluations, and its own label."""
    system, labels = file.systems[name], {s.name.removeprefix(f"{name}/"): s.label for s in stages}
    pipeline = file.pipelines[system.pipeline]
    runs = [check_name(run, labels, where=f"{where}.runs", what="stage") for run in row.runs]
    evaluations = [
        check_name(stage, labels, where=f"{where}.evaluations", what="stage")
        for stage in row.evaluations
        if stage in labels or not system.substitutes
    ]
    return _system_report(
        pipeline,
        [ReportRow(stage=run, label=labels[run]) for run in runs],
        evaluations,
        name=name,
        label=(row.label if not system.substitutes else "") or system.label,
        reported=reported,
    )


def _read_reported(file: PlanFile, folder: Path) -> dict[str, dict[str, dict[str, ReportedNumber]]]:
    """Read the paper's numbers of each system, those of no system in particular among them."""
    if file.reported is None:
        return {}
    path = find_file(folder / file.reported, "reported")
    try:
        numbers = parse_tree(ReportedFile, {"systems": read_yaml(path)}).systems
    except ConfigError as mistake:
        raise ConfigError(f"reported: {path.name}: {mistake}") from None
    everywhere = numbers.get(_EVERY_SYSTEM, {})
    return {name: {**everywhere, **numbers.get(name, {})} for name in file.systems}


def _all_needs(report: SystemReport, stages: Sequence[Stage]) -> frozenset[str]:
    """Return the full names of what a report shows, and of all that it starts from."""
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
