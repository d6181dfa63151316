"""What a plan would run: checks and cost estimates of its runs, before any is started, and the output of `--dry-run`.

Checks and estimates need Lightning and the models' classes, so other processes do them, at most one for each folder of
configs: the process that watches a study stays small.
"""

import multiprocessing
import os
import shlex
import warnings
from collections import ChainMap
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from lightning_marlhf.config.yaml_files import ConfigError, look_up, read_yaml
from lightning_marlhf.display.text import plural
from lightning_marlhf.run_folder import DONE_FILE
from lightning_marlhf.studies.job_state import Job, State, inspect_job, start_command
from lightning_marlhf.studies.plan import Plan
from lightning_marlhf.studies.stages import Stage


@dataclass(frozen=True)
class Cost:
    """The cost of one run.

    Args:
        updates: Optimizer steps.
        processes: Devices, all nodes together.
        hours: Estimated time; None if it is not estimated.
        problem: Reason why it cannot be estimated.
    """

    updates: int = 0
    processes: int = 1
    hours: float | None = None
    problem: str = ""

    @property
    def gpu_hours(self) -> float:
        """The hours of all devices."""
        return (self.hours or 0.0) * self.processes


_STALE = (State.STALE, State.INTERRUPTED_STALE)
_MOST_PROCESSES = 4  # each imports Lightning

Check = Callable[[Sequence[str]], None]  # refuses a wrong command line, such as ["fit", "--config", "x.yaml"]
Estimate = Callable[[Sequence[str]], Cost]  # the cost of `fit` with this command line


def jobs_to_run(jobs: Sequence[Job], *, force: Collection[Job], overwrite: bool) -> dict[Job, State]:
    """Return the jobs that would run, with their current state."""
    found: dict[Job, State] = {}
    for job in jobs:
        waits = any(need in found or not (need.folder / DONE_FILE).is_file() for need in job.needs)
        state = State.NEW if waits else inspect_job(job)
        kept = (state is State.FINISHED and job not in force) or (state in _STALE and not overwrite)
        if not kept:
            found[job] = state
    return found


def check_runs(plan: Plan, jobs: Collection[Job], *, check: Check, estimate: Estimate) -> dict[str, Cost]:
    """Check the runs among some jobs, and estimate those with a hardware overlay, one seed of each stage.

    Args:
        plan: The plan.
        jobs: Those that will be run.
        check: Called in other processes, as is `estimate`: both must be functions of a module.
        estimate: Its problems, `ConfigError` aside, become the cost's.

    Raises:
        ConfigError: A run's configuration is wrong.
    """
    stages = {stage.name: stage for stage in plan.stages}
    first = {job.stage: job for job in reversed(jobs) if not job.evaluates}
    calls: dict[Path, dict[str, Callable[[], Cost | None]]] = {}
    for name in (name for name in stages if name in first):
        stage, command = stages[name], first[name].command
        if stage.command == "fit" and stage.hardware:
            call = partial(_estimate, estimate, _planned_words(stages, name))
        else:
            call = partial(check, command[command.index(stage.command) :])
        calls.setdefault(stage.configs[0].parent, {})[name] = call
    if not calls:
        return {}
    workers = min(len(calls), os.cpu_count() or 1, _MOST_PROCESSES)
    try:
        with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
            costs = ChainMap(*pool.map(_call_all, calls.values()))
    except BrokenProcessPool:
        raise ValueError("the check of the stages died (out of memory?)") from None
    return {name: costs[name] for name in stages if name in costs}


def dry_run_lines(
    plan: Plan, jobs: Sequence[Job], to_run: Mapping[Job, State], costs: Mapping[str, Cost]
) -> Iterator[str]:
    """Yield the command or state of each job, and a summary."""
    yield f"{plan.title}: into {plan.output}, up to {plan.jobs} stages concurrently"
    states = {job: to_run.get(job) or inspect_job(job) for job in jobs}
    for job, state in states.items():
        if job not in to_run:
            yield f"  {job.name}: {state.value}, kept"
            continue
        yield f"  {job.name}: {'resume' if state is State.INTERRUPTED else 'run'}"
        yield f"    {shlex.join(start_command(job, state=state))}"
    yield from about_plan(plan, costs)
    yield "summary:"
    yield f"  stages: {len({job.stage for job in jobs})}"
    yield f"  seeds: {', '.join(map(str, plan.seeds))}"
    kept = [job for job in jobs if job not in to_run]
    stale = sum(states[job] in _STALE for job in kept)
    other = f", {stale} of them with other settings or inputs" if stale else ""
    yield f"  finished: {len(kept)} of {len(jobs)} runs{other}"
    resumed = sum(state is State.INTERRUPTED for state in to_run.values())
    yield f"  to run: {len(to_run)}{f', {resumed} of them to resume' if resumed else ''}"
    hours = sum(costs[job.stage].gpu_hours for job in to_run if job.stage in costs)
    if hours:
        yield f"  cost: {hours:,.0f} GPU hours, without evaluation"


def about_plan(plan: Plan, costs: Mapping[str, Cost]) -> Iterator[str]:
    """Yield the left-out systems and the costs of a plan with systems; nothing for other plans."""
    if plan.left_out:
        yield f"left out, since no system substitutes it: {', '.join(plan.left_out)}"
    if plan.systems:
        yield from cost_lines(costs, num_seeds=len(plan.seeds))


def cost_lines(costs: Mapping[str, Cost], *, num_seeds: int) -> list[str]:
    """Return the costs of stages, one line each."""
    lines = [f"cost by `plan`, each seed ({num_seeds}):"]
    for name, cost in costs.items():
        if cost.problem:
            lines.append(f"  {name}: cannot be planned: {cost.problem}")
            continue
        time = "time not known" if cost.hours is None else f"{cost.hours:.1f} h"
        lines.append(f"  {name}: {cost.updates:,} updates, {plural(cost.processes, 'device')}, {time}")
    return lines if costs else ["cost: not estimated on a CPU"]


def _call_all(calls: Mapping[str, Callable[[], Cost | None]]) -> dict[str, Cost]:
    warnings.simplefilter("ignore")  # of what is not being run
    return {name: cost for name, call in calls.items() if (cost := call())}


def _estimate(estimate: Estimate, words: Sequence[str]) -> Cost:
    try:
        return estimate(words)
    except ConfigError:
        raise
    except (ValueError, OSError) as error:
        return Cost(problem=" ".join(str(error).split()))


def _planned_words(stages: Mapping[str, Stage], name: str) -> list[str]:
    """Return the command line by which a stage is planned.

    Its inputs are the folders that the configs of other stages name themselves: by these `plan` finds the runs that
    will fill them.
    """

    def folder(stage: str) -> Path:
        config = stages[stage].config
        tree = {} if config is None else read_yaml(config)
        return Path(str(look_up(tree, "trainer.default_root_dir") or stage))

    return [*stages[name].config_words(), *stages[name].options(folder)]
