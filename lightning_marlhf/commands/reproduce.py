"""`reproduce PLAN`: runs the stages of a plan, skips finished ones, resumes interrupted ones, and writes the report."""

import functools
import itertools
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from lightning_marlhf.commands import errors
from lightning_marlhf.config.options import positional, read_options
from lightning_marlhf.config.yaml_files import ConfigError
from lightning_marlhf.display.streams import survive_closed_output
from lightning_marlhf.display.text import duration
from lightning_marlhf.ranges import PositiveInt
from lightning_marlhf.run_folder import STUDY_LOCK_FILE
from lightning_marlhf.run_lock import alone_in
from lightning_marlhf.studies.dry_run import Cost, about_plan, check_runs, dry_run_lines, jobs_to_run
from lightning_marlhf.studies.job_state import Job, Outcome, make_jobs
from lightning_marlhf.studies.plan import Plan, check_name, read_plan
from lightning_marlhf.studies.plan_file import check_seeds
from lightning_marlhf.studies.progress import Monitor
from lightning_marlhf.studies.runner import Runner


@dataclass(frozen=True, kw_only=True)
class ReproduceOptions:
    """Run the stages of a plan and write its report. Finished stages are skipped, interrupted ones resume.

    Args:
        plan: The plan's YAML, such as experiments/tiny/tldr/demo.yaml.
        seeds: How many seeds (3 means 1,2,3), or a list such as 1,5,7.
        only: Run this stage only; of a plan with systems also a system, with all that its row needs. Repeatable.
        systems: Run other systems in place of the plan's own, such as tiny: runs in minutes on a laptop.
        quick: Use the plan's quick settings, in their own folder: a smoke run.
        jobs: Number of concurrent stages; CPU cores are divided among them.
        output: Another folder than the plan's.
        overwrite: Redo stages that were made with other settings or inputs; with --only, redo that stage anyway.
        dry_run: Print what would run and its cost, and exit.
    """

    plan: Path = positional()
    seeds: str | None = None
    only: list[str] = field(default_factory=list)
    systems: str | None = None
    quick: bool = False
    jobs: PositiveInt | None = None
    output: Path | None = None
    overwrite: bool = False
    dry_run: bool = False


def main(arguments: Sequence[str]) -> int:
    """Run a plan.

    Returns:
        0 all stages are finished, 1 a stage failed, 2 the plan or the command line is wrong, 130 interrupted.
    """
    with survive_closed_output():
        return errors.call(lambda: _main(arguments))


def check_run(arguments: Sequence[str]) -> None:
    """Refuse a wrong command line of a run."""
    from lightning_marlhf.commands import run

    run.mute_lightning()
    run.check(arguments)


def estimate_run(arguments: Sequence[str]) -> Cost:
    """Estimate what `fit` with a command line takes."""
    from lightning_marlhf.planning import flops
    from lightning_marlhf.planning.read_run import read_run

    files = [Path(word) for key, word in itertools.pairwise(arguments) if key == "--config"]
    run = read_run(arguments, config_files=files, build=lambda words: _build_parts(tuple(words)))
    hours = None
    if run.accelerator == "gpu":  # what a hardware overlay sets
        hours = sum(flops.hours(run, flops.Machine()).values())
    return Cost(updates=run.updates, processes=run.processes, hours=hours)


@functools.cache  # the runs that others start from
def _build_parts(arguments: tuple[str, ...]) -> Any:
    from lightning_marlhf.commands.plan import build_parts

    return build_parts(arguments)


def _main(arguments: Sequence[str]) -> int:
    options = read_options(ReproduceOptions, arguments[1:], command="reproduce")
    plan = _read_plan(options)
    jobs = _only(make_jobs(plan), options.only, plan)
    force = [job for job in jobs if job.stage in options.only] if options.overwrite else []
    to_run = jobs_to_run(jobs, force=force, overwrite=options.overwrite)
    costs = check_runs(plan, to_run, check=check_run, estimate=estimate_run)
    if options.dry_run:
        sys.stdout.writelines(f"{line}\n" for line in dry_run_lines(plan, jobs, to_run, costs))
        return 0
    console = Console(highlight=False)
    _say(console, f"{plan.title}: {len(jobs)} runs into {plan.output}", *about_plan(plan, costs))
    with alone_in(plan.output, name=STUDY_LOCK_FILE), Monitor(total=len(jobs), console=console) as monitor:
        runner = Runner(jobs, workers=plan.jobs, overwrite=options.overwrite, force=force, monitor=monitor)
        began = time.monotonic()
        outcomes = runner.run()
    if runner.interrupted:
        same = shlex.join(["python", "-m", "lightning_marlhf", *arguments])
        _say(console, f"interrupted; rerun to resume: {same}")
        return errors.INTERRUPTED
    _write_report(plan, console)
    if monitor.stale:
        names = ", ".join(job.name for job in monitor.stale)
        text = f"made with other settings or inputs than the plan's, and kept: {names} (--overwrite redoes them)"
        _say(console, text, style="yellow")
    unfinished = (Outcome.FAILED, Outcome.BLOCKED)
    failed = [job.name for job, outcome in outcomes.items() if outcome in unfinished]
    end = f"not finished: {', '.join(failed)}; rerun to try again" if failed else "all stages finished"
    _say(console, f"{end}; {duration(time.monotonic() - began)} in all")
    return 1 if failed else 0


def _read_plan(options: ReproduceOptions) -> Plan:
    """Read the plan; the command line's choices go before the plan's."""
    plan = read_plan(options.plan, quick=options.quick, systems=options.systems)
    return replace(
        plan,
        seeds=plan.seeds if options.seeds is None else _parse_seeds(options.seeds),
        jobs=options.jobs or plan.jobs,
        output=options.output or plan.output,
    )


def _parse_seeds(text: str) -> tuple[int, ...]:
    try:
        numbers = [int(word) for word in text.strip("[]").replace(",", " ").split()]
        counted = len(numbers) == 1 and "," not in text and "[" not in text
        seeds = range(1, numbers[0] + 1) if counted else numbers
        check_seeds(seeds)
    except ValueError:
        raise ConfigError(
            f"--seeds: expected a number of seeds or a list of different ones such as 1,2,3, got {text!r}"
        ) from None
    return tuple(seeds)


def _only(jobs: list[Job], names: Sequence[str], plan: Plan) -> list[Job]:
    """Keep the jobs of some stages, and of some systems with all that their rows need."""
    groups = {**{stage.name: {stage.name} for stage in plan.stages}, **plan.systems}
    for name in names:
        check_name(name, groups, where="--only", what="stage")
    wanted = set().union(*(groups[name] for name in names))
    return [job for job in jobs if not names or job.stage in wanted]


def _write_report(plan: Plan, console: Console) -> None:
    """Write the plan's report, and show its first table."""
    if plan.report is None:
        return
    from lightning_marlhf.reporting.report import build_report

    folder = plan.report_folder
    report = build_report(plan.report, title=plan.title, output=plan.output, seeds=plan.seeds, folder=folder)
    files = f"report: {folder / 'report.md'}, {folder / 'report.html'}"
    _say(console, *report.terminal_lines(), files)


def _say(console: Console, *lines: str, style: str | None = None) -> None:
    for line in lines:
        console.print(line, style=style, soft_wrap=True, markup=False)
