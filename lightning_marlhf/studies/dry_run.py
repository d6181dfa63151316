"""The output of `reproduce --dry-run`."""

import shlex
from collections.abc import Collection, Iterator, Mapping, Sequence

from lightning_marlhf.run_folder import DONE_FILE
from lightning_marlhf.studies.costs import Cost, cost_lines, gpu_hours
from lightning_marlhf.studies.jobs import Job, State, inspect_job, start_command
from lightning_marlhf.studies.plan import Plan

_STALE = (State.STALE, State.INTERRUPTED_STALE)


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


def dry_run_lines(
    plan: Plan, jobs: Sequence[Job], to_run: Mapping[Job, State], costs: Mapping[str, Cost]
) -> Iterator[str]:
    """Yield the command or state of each job, and a summary."""
    yield f"{plan.title}: into {plan.output}, up to {plan.jobs} stages side by side"
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
    hours = sum(gpu_hours({job.stage: costs[job.stage]}) for job in to_run if job.stage in costs)
    if hours:
        yield f"  cost: {hours:,.0f} GPU hours, without evaluation"


def about_plan(plan: Plan, costs: Mapping[str, Cost]) -> Iterator[str]:
    """Yield the left-out systems and the costs of a plan with systems; nothing for other plans."""
    if plan.left_out:
        yield f"left out, since no system substitutes it: {', '.join(plan.left_out)}"
    if plan.systems:
        yield from cost_lines(costs, num_seeds=len(plan.seeds))
