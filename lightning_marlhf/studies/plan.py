"""Plan files: the stages of a study, checked before anything runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, get_args

from lightning_marlhf.config.raw_config import ConfigError, read_yaml
from lightning_marlhf.config.suggest import did_you_mean
from lightning_marlhf.reporting.spec import SectionName
from lightning_marlhf.studies import plan_checks
from lightning_marlhf.studies.plan_checks import check_keys, mapping
from lightning_marlhf.studies.stages import Stage, read_stage
from lightning_marlhf.studies.systems import Row, Systems, read_systems

_PLAN_KEYS = ("title", "output", "seeds", "jobs", "stages", "quick", "report")
_PAPER_KEYS = ("title", "systems", "rows", "shows")
_QUICK_KEYS = ("output", "seeds", "set")


@dataclass(frozen=True)
class Plan:
    """A study: stages in an order in which they can run."""

    path: Path
    title: str
    output: Path  # the runs of a stage lie in <output>/<stage>/seed-<N>
    stages: tuple[Stage, ...]
    seeds: tuple[int, ...] = (1,)
    jobs: int = 1  # how many stages may run side by side
    report: Mapping[str, Any] = field(default_factory=dict)
    rows: tuple[Row, ...] = ()  # of a plan of the paper
    shows: tuple[str, ...] = ()  # what such a plan's report shows of them
    left_out: tuple[str, ...] = ()  # systems of such a plan for which nothing stands in

    @property
    def report_folder(self) -> Path:
        """Where the report goes; plans of the paper share their runs, but not their reports."""
        return self.output / "paper" / self.path.stem if self.rows else self.output


def read_plan(path: Path, *, quick: bool = False, on: str | None = None) -> Plan:
    """Read a plan.

    Args:
        path: the YAML; the configs in it are relative to its folder, `output` to the working directory.
        quick: apply the `quick:` section (smaller settings, another output folder).
        on: take the systems of the file of this name beside the plan's own, for a plan of the paper.

    Raises:
        ConfigError: names the wrong key, stage or value and what was expected.
    """
    tree = read_yaml(path)
    try:
        if "systems" in tree:
            return _paper_plan(tree, path, quick=quick, on=on)
        if on is not None:
            raise ConfigError("--on: this plan names its runs, not systems that others stand for")
        plan = _plan(tree, path)
        if quick:
            plan = _apply_quick(plan, tree.get("quick"))
        _check_report(plan)
    except ConfigError as mistake:
        raise ConfigError(f"{path}: {mistake}") from None
    return plan


def _plan(tree: Mapping[str, Any], path: Path) -> Plan:
    check_keys(tree, _PLAN_KEYS, required=("title", "output", "stages"), where="")
    if not isinstance(tree["stages"], list) or not tree["stages"]:
        raise ConfigError("stages: expected a list of stages")
    stages: list[Stage] = []
    for number, entry in enumerate(tree["stages"]):
        earlier = [stage.name for stage in stages]
        where = f"stages.{number}"
        stages.append(
            read_stage(entry, where, folder=path.parent, configs=path.parent, earlier=earlier)
        )
    return Plan(
        path=path,
        title=str(tree["title"]),
        output=Path(str(tree["output"])),
        stages=tuple(stages),
        seeds=plan_checks.seeds(tree.get("seeds", [1])),
        jobs=plan_checks.positive(tree.get("jobs", 1), "jobs"),
        report=tree.get("report") or {},
    )


def _apply_quick(plan: Plan, quick: Any) -> Plan:
    if not isinstance(quick, Mapping):
        raise ConfigError("the plan has no quick: section")
    check_keys(quick, _QUICK_KEYS, required=("output",), where="quick")
    settings = mapping(quick.get("set"), "quick.set")
    check_keys(settings, [stage.name for stage in plan.stages], where="quick.set")
    stages = tuple(
        replace(
            stage,
            set={**stage.set, **mapping(settings.get(stage.name), f"quick.set.{stage.name}")},
        )
        for stage in plan.stages
    )
    seeds = plan_checks.seeds(quick["seeds"]) if "seeds" in quick else plan.seeds
    return replace(plan, stages=stages, output=Path(str(quick["output"])), seeds=seeds)


def _paper_plan(tree: Mapping[str, Any], path: Path, *, quick: bool, on: str | None) -> Plan:
    check_keys(tree, _PAPER_KEYS, required=_PAPER_KEYS, where="")
    name = str(tree["systems"]) if on is None else f"{on}.yaml"
    systems = read_systems(plan_checks.config_file(path.parent / name, "systems"), quick=quick)
    rows, left_out = systems.rows(tree["rows"])
    if not rows:
        raise ConfigError(f"rows: {on} has no system that stands for {', '.join(left_out)}")
    return Plan(
        path=path,
        title=str(tree["title"]) if on is None else f"{tree['title']} ({on})",
        output=systems.output,
        stages=_stages_of(systems, rows),
        seeds=systems.seeds,
        jobs=systems.jobs,
        rows=rows,
        shows=_shows(tree["shows"]),
        left_out=left_out,
    )


def _shows(names: Any) -> tuple[str, ...]:
    return tuple(
        plan_checks.check_name(name, get_args(SectionName), where="shows", what="thing to show")
        for name in plan_checks.names(names, "shows")
    )


def _stages_of(systems: Systems, rows: Sequence[Row]) -> tuple[Stage, ...]:
    """Return what the rows need, each stage once, in an order in which they can run."""
    wanted = {stage for row in rows for stage in row.stages}
    kept = [stage for stage in systems.stages(row.system for row in rows) if stage.name in wanted]
    return tuple(kept)


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
