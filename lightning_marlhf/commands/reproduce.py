"""`reproduce PLAN`: runs the stages of a plan, skips finished ones, resumes what was cut off, and writes the report."""

import argparse
import shlex
import sys
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from lightning_marlhf.commands import errors
from lightning_marlhf.commands.terminal import lasting_output
from lightning_marlhf.config.yaml_files import ConfigError
from lightning_marlhf.run_folder import DONE_FILE, STUDY_LOCK_FILE
from lightning_marlhf.run_lock import InUseError, alone_in
from lightning_marlhf.studies import plan_checks
from lightning_marlhf.studies.check import check_all
from lightning_marlhf.studies.costs import cost_lines, plan_costs
from lightning_marlhf.studies.jobs import Job, State, inspect_job, make_jobs, start_command
from lightning_marlhf.studies.plan import Plan, read_plan
from lightning_marlhf.studies.progress import Monitor, duration
from lightning_marlhf.studies.report import write_report
from lightning_marlhf.studies.scheduler import Outcome, Scheduler


def main(arguments: Sequence[str]) -> int:
    """Run a plan.

    Returns:
        0 all stages are finished, 1 a stage failed, 2 the plan or the command line is wrong, 130 interrupted.
    """
    options = _parser().parse_args(arguments[1:])
    with lasting_output():
        return errors.call(lambda: _main(options, arguments))


def _main(options: argparse.Namespace, arguments: Sequence[str]) -> int:
    plan = _choose(read_plan(options.plan, quick=options.quick, on=options.on), options)
    jobs = _only(make_jobs(plan), options.only, plan)
    force = [job for job in jobs if job.stage in options.only] if options.overwrite else []
    if options.dry_run:
        _show(plan, jobs, force=force, overwrite=options.overwrite)
        return 0
    return _run(plan, jobs, force=force, options=options, arguments=arguments)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m lightning_marlhf reproduce",
        description="Run the stages of a plan and write its report. Finished stages are skipped, and one that was "
        "cut off goes on from its last checkpoint: the same command resumes.",
    )
    parser.add_argument(
        "plan", type=Path, help="the plan's YAML, e.g. experiments/tiny/tldr/demo.yaml"
    )
    parser.add_argument("--seeds", help="how many seeds (3 means 1,2,3), or a list such as 1,5,7")
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="STAGE",
        help="run this stage only; of a plan of the paper also a row, with all that it needs; repeatable",
    )
    parser.add_argument(
        "--on",
        metavar="SYSTEMS",
        help="of a plan of the paper: let other systems stand for its own, e.g. tiny (minutes on a laptop)",
    )
    parser.add_argument(
        "--quick", action="store_true", help="use the plan's quick: settings, in its own folder"
    )
    parser.add_argument(
        "--jobs", type=int, help="stages side by side; the cores are divided among them"
    )
    parser.add_argument("--output", type=Path, help="another folder than the plan's")
    overwrite = "redo stages that were made with other settings or inputs; with --only, redo that stage anyway"
    parser.add_argument("--overwrite", action="store_true", help=overwrite)
    parser.add_argument("--dry-run", action="store_true", help="say what would be run, and stop")
    return parser


def _choose(plan: Plan, options: argparse.Namespace) -> Plan:
    """Let the command line's choices go before the plan's."""
    if options.seeds is not None:
        plan = replace(plan, seeds=_parse_seeds(options.seeds))
    if options.jobs is not None:
        if options.jobs < 1:
            raise ConfigError(f"--jobs: expected at least 1, got {options.jobs}")
        plan = replace(plan, jobs=options.jobs)
    return plan if options.output is None else replace(plan, output=options.output)


def _parse_seeds(text: str) -> tuple[int, ...]:
    try:
        numbers = [int(word) for word in text.strip("[]").replace(",", " ").split()]
    except ValueError:
        raise ConfigError(
            f"--seeds: expected a number of seeds or a list such as 1,2,3, got {text!r}"
        ) from None
    counted = len(numbers) == 1 and "," not in text and "[" not in text
    return plan_checks.seeds(list(range(1, numbers[0] + 1)) if counted else numbers)


def _only(jobs: list[Job], names: Sequence[str], plan: Plan) -> list[Job]:
    """Keep the jobs of some stages, and of some rows with all that they need."""
    stages = {stage.name: {stage.name} for stage in plan.stages}
    groups = {**stages, **{row.system: set(row.stages) for row in plan.rows}}
    for name in names:
        plan_checks.check_name(name, tuple(groups), where="--only", what="stage")
    wanted = set().union(*(groups[name] for name in names))
    return [job for job in jobs if not names or job.stage in wanted]


def _show(plan: Plan, jobs: Sequence[Job], *, force: Sequence[Job], overwrite: bool) -> None:
    sys.stdout.write(
        f"{plan.title}: {len(jobs)} stages into {plan.output}, up to {plan.jobs} side by side\n"
    )
    redone: set[Job] = set()
    for job in jobs:
        waits = [
            need for need in job.needs if need in redone or not (need.folder / DONE_FILE).is_file()
        ]
        state = State.NEW if waits else inspect_job(job)
        stale = state in (State.STALE, State.CUT_OFF_STALE)
        if (state is State.FINISHED and job not in force) or (stale and not overwrite):
            sys.stdout.write(f"  {job.name}: {'finished' if not stale else state.value}, kept\n")
            continue
        redone.add(job)
        how = "resume" if state is State.CUT_OFF else "run"
        sys.stdout.write(
            f"  {job.name}: {how}\n    {shlex.join(start_command(job, state=state))}\n"
        )
    for line in _about_paper(plan, redone):
        sys.stdout.write(f"{line}\n")


def _about_paper(plan: Plan, jobs: Collection[Job]) -> list[str]:
    """Say of a plan of the paper which systems are left out, and what the jobs cost; nothing of another plan."""
    if not plan.rows:
        return []
    left_out = ", ".join(plan.left_out)
    lines = [f"left out, since nothing stands for it: {left_out}"] if left_out else []
    stages = [stage.name for stage in plan.stages if any(job.stage == stage.name for job in jobs)]
    return [*lines, *cost_lines(plan_costs(plan, stages), num_seeds=len(plan.seeds))]


def _run(
    plan: Plan,
    jobs: Sequence[Job],
    *,
    force: Sequence[Job],
    options: argparse.Namespace,
    arguments: Sequence[str],
) -> int:
    console = Console(highlight=False)
    began = time.monotonic()
    console.print(
        f"{plan.title}: {len(jobs)} stages into {plan.output}", soft_wrap=True, markup=False
    )
    unfinished = [job for job in jobs if not (job.folder / DONE_FILE).is_file()]
    check_all([list(job.command[3:]) for job in unfinished if not job.evaluates])
    for line in _about_paper(plan, unfinished):
        console.print(line, soft_wrap=True, markup=False)
    with _alone(plan.output), Monitor(total=len(jobs), console=console) as monitor:
        scheduler = Scheduler(
            jobs, workers=plan.jobs, overwrite=options.overwrite, force=force, listener=monitor
        )
        outcomes = scheduler.run()
    if scheduler.interrupted:
        same = shlex.join(["python", "-m", "lightning_marlhf", *arguments])
        console.print(f"stopped; the same command resumes: {same}", soft_wrap=True, markup=False)
        return errors.INTERRUPTED
    write_report(plan, console)
    if monitor.stale:
        names = ", ".join(job.name for job in monitor.stale)
        text = f"made with other settings or inputs than the plan's, and kept: {names} (--overwrite redoes them)"
        console.print(text, style="yellow", soft_wrap=True, markup=False)
    failed = [
        job.name
        for job, outcome in outcomes.items()
        if outcome in (Outcome.FAILED, Outcome.BLOCKED)
    ]
    end = (
        f"not finished: {', '.join(failed)}; the same command tries again"
        if failed
        else "all stages finished"
    )
    console.print(
        f"{end}; {duration(time.monotonic() - began)} in all", soft_wrap=True, markup=False
    )
    return 1 if failed else 0


@contextmanager
def _alone(output: Path) -> Iterator[None]:
    """Hold the output folder, so that two plans never write into one.

    Raises:
        ValueError: another process holds it.
    """
    with ExitStack() as stack:
        try:
            stack.enter_context(alone_in(output, name=STUDY_LOCK_FILE))
        except InUseError as error:
            said = f"another `reproduce` is running in {output}: {error.holder}"
            raise ValueError(said) from None
        yield
