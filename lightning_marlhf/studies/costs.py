"""Checks and cost estimates of a plan's runs, before any is started.

Both need Lightning and the models' classes, so other processes do it, at most one for each folder of configs: the
process that watches a study stays small.
"""

import multiprocessing
import os
import warnings
from collections import ChainMap
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from lightning_marlhf.config.yaml_files import ConfigError, look_up, read_yaml
from lightning_marlhf.studies.jobs import Job
from lightning_marlhf.studies.plan import Plan
from lightning_marlhf.studies.stages import Stage


@dataclass(frozen=True)
class Cost:
    """The cost of one run.

    Args:
        updates: Optimizer steps.
        processes: Devices, all nodes together.
        hours: Estimated time; None where it is not estimated.
        problem: Reason why it cannot be estimated.
    """

    updates: int = 0
    processes: int = 1
    hours: float | None = None
    problem: str = ""


_MOST_PROCESSES = 4  # each imports Lightning

Check = Callable[[Sequence[str]], None]  # refuses a wrong command line, such as ["fit", "--config", "x.yaml"]
Estimate = Callable[[Sequence[str]], Cost]  # the cost of `fit` with this command line


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


def cost_lines(costs: Mapping[str, Cost], *, num_seeds: int) -> list[str]:
    """Return the costs of stages, one line each."""
    lines = [f"cost by `plan`, each seed ({num_seeds}):"]
    for name, cost in costs.items():
        if cost.problem:
            lines.append(f"  {name}: cannot be planned: {cost.problem}")
            continue
        devices = f"{cost.processes} device{'s' if cost.processes > 1 else ''}"
        time = "time not known" if cost.hours is None else f"{cost.hours:.1f} h"
        lines.append(f"  {name}: {cost.updates:,} updates, {devices}, {time}")
    return lines if costs else ["cost: not estimated on a CPU"]


def gpu_hours(costs: Mapping[str, Cost]) -> float:
    """Add up the hours of all devices, one seed of each stage."""
    return sum((cost.hours or 0.0) * cost.processes for cost in costs.values())


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
