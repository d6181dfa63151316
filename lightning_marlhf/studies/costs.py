"""What the runs of a plan would take, as `plan` estimates it: `python -m lightning_marlhf.studies.costs`.

A process of its own, as `check` is: the estimate imports Lightning and builds models, though on no device.
"""

import itertools
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning_marlhf.config.raw_config import look_up, read_yaml
from lightning_marlhf.studies.jobs import config_words
from lightning_marlhf.studies.plan import Plan
from lightning_marlhf.studies.stages import Stage

Cost = Mapping[str, Any]
_GPU = "gpu"  # what a hardware overlay sets; nothing is estimated of other devices


def plan_costs(plan: Plan, stages: Sequence[str]) -> dict[str, Cost]:
    """Estimate some stages of a plan, one seed of each.

    Returns:
        Stage -> "updates", "processes" and "hours", or "problem": why it cannot be planned. Evaluations, tests and
        runs without hardware of their own are left out.
    """
    by_name = {stage.name: stage for stage in plan.stages}
    chosen = {name: by_name[name] for name in stages}
    wanted = {name: s for name, s in chosen.items() if s.command == "fit" and s.hardware}
    words = {
        name: [*config_words(stage), *stage.options(lambda other: _planned_folder(by_name[other]))]
        for name, stage in wanted.items()
    }
    if not words:
        return {}
    done = subprocess.run(
        [sys.executable, "-m", "lightning_marlhf.studies.costs"],
        input=json.dumps(words),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        last = (done.stderr.strip() or "no reason given").splitlines()[-1]
        return {name: {"problem": last} for name in words}
    return json.loads(done.stdout)  # type: ignore[no-any-return]


def cost_lines(costs: Mapping[str, Cost], *, num_seeds: int) -> list[str]:
    """Say what stages take, one a line, and all of them together."""
    if not costs:
        return ["cost: not estimated on a CPU"]
    lines = [f"cost by `plan`, each seed ({num_seeds}):"]
    total = 0.0
    for name, cost in costs.items():
        if "problem" in cost:
            lines.append(f"  {name}: cannot be planned: {cost['problem']}")
            continue
        devices = f"{cost['processes']} device{'s' if cost['processes'] > 1 else ''}"
        time = "time not known" if cost["hours"] is None else f"{cost['hours']:.1f} h"
        total += (cost["hours"] or 0.0) * cost["processes"]
        lines.append(f"  {name}: {cost['updates']:,} updates, {devices}, {time}")
    if total:
        hours = total * num_seeds
        lines.append(f"  all that is left, all seeds: {hours:,.0f} GPU hours, without evaluation")
    return lines


def main() -> int:
    """Estimate the command lines on stdin; write JSON."""
    from lightning_marlhf.commands import run as cli

    cli.quieten_lightning()
    costs = {name: _cost(words) for name, words in json.load(sys.stdin).items()}
    sys.stdout.write(json.dumps(costs))
    return 0


def _cost(words: Sequence[str]) -> Cost:
    from lightning_marlhf.commands.plan import build_parts
    from lightning_marlhf.planning import flops
    from lightning_marlhf.planning.read_run import read_run

    files = [Path(word) for key, word in itertools.pairwise(words) if key == "--config"]
    try:
        run = read_run(words, config_files=files, build=build_parts)
        hours = None
        if run.accelerator == _GPU:
            hours = sum(flops.hours(run, flops.Machine()).values())
    except (ValueError, OSError) as error:
        return {"problem": " ".join(str(error).split())}
    return {"updates": run.updates, "processes": run.processes, "hours": hours}


def _planned_folder(stage: Stage) -> Path:
    """Return the folder that a stage's config names itself: by it `plan` finds what a run will start from."""
    if stage.config is None:
        return Path(stage.name)
    return Path(str(look_up(read_yaml(stage.config), "trainer.default_root_dir")))


if __name__ == "__main__":
    sys.exit(main())
