"""`python -m lightning_marlhf plan`: what a run would take, before anything is downloaded."""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from lightning_marlhf.commands import errors
from lightning_marlhf.planning import estimate
from lightning_marlhf.planning.estimate import LAUNCH_S_PER_LAYER, Machine

if TYPE_CHECKING:
    from lightning_marlhf.planning.planned_run import PlannedRun

_GB = (
    1e9  # less than the 2**30 bytes by which GPUs are sold: 7 % are left for CUDA and the allocator
)
_CAPACITY = re.compile(r"(\d+)gb")  # in the name of an overlay


def main(arguments: Sequence[str]) -> int:
    """Plan a run; see `plan --help`."""
    options, run_arguments = _parser().parse_known_args(arguments[1:])
    return errors.call(lambda: _run(options, run_arguments))


def _parser() -> argparse.ArgumentParser:
    machine = Machine()
    parser = argparse.ArgumentParser(
        prog="python -m lightning_marlhf plan",
        usage="%(prog)s --config RUN.yaml [--config OVERLAY.yaml] [--key value ...] [options]",
        description="Say what a run would take: updates, memory per GPU, FLOPs, hours. Other options are those of fit.",
        allow_abbrev=False,
    )
    parser.add_argument("--config", action="append", type=Path, default=[], help="as for fit")
    parser.add_argument(
        "--gpu-memory",
        type=float,
        metavar="GB",
        help="of one GPU; else from an overlay called ...80gb.yaml",
    )
    parser.add_argument(
        "--mean-length",
        type=float,
        default=1.0,
        metavar="SHARE",
        help="of the longest row, for FLOPs and hours (1)",
    )
    parser.add_argument(
        "--mfu",
        type=float,
        default=machine.mfu,
        help=f"share of its peak that a GPU reaches ({machine.mfu})",
    )
    parser.add_argument(
        "--tflops",
        type=float,
        default=machine.tflops,
        help=f"peak of one GPU ({machine.tflops:g}, an A100's)",
    )
    parser.add_argument(
        "--bandwidth",
        type=float,
        default=machine.bandwidth_tb_s,
        metavar="TB/S",
        help="of a GPU's memory (2)",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object; sizes in bytes")
    return parser


def _run(options: argparse.Namespace, run_arguments: Sequence[str]) -> int:
    if not 0 < options.mean_length <= 1:
        raise ValueError(
            f"--mean-length: expected more than 0 and at most 1, got {options.mean_length}"
        )
    configs = [word for path in options.config for word in ("--config", str(path))]
    from lightning_marlhf.commands import run as cli
    from lightning_marlhf.planning.planned_run import read_run

    cli.quieten_lightning()
    run = read_run([*configs, *run_arguments], config_files=options.config)
    machine = Machine(tflops=options.tflops, mfu=options.mfu, bandwidth_tb_s=options.bandwidth)
    capacity = options.gpu_memory or _capacity(options.config)
    found = facts(run, machine, capacity=capacity, mean_length=options.mean_length)
    if options.json:
        sys.stdout.write(json.dumps(found, indent=2) + "\n")
    else:
        show(found, Console(highlight=False))
    return 0


def _capacity(configs: Sequence[Path]) -> float | None:
    """Read the memory of a GPU in GB off the name of an overlay such as `8x80gb.yaml`."""
    names = (_CAPACITY.search(path.stem) for path in configs)
    return next((float(name.group(1)) for name in names if name), None)


def facts(
    run: PlannedRun, machine: Machine, *, capacity: float | None, mean_length: float
) -> dict[str, Any]:
    """Collect what is shown.

    Args:
        run: the run.
        machine: what is assumed of each GPU.
        capacity: GB of each GPU; None where it is not known.
        mean_length: share of the longest row that rows have on average.
    """
    peaks = estimate.peaks(run)
    peak = max(peaks.values())
    usual = estimate.at_mean_length(run, mean_length)
    row = run.prompt + run.response
    return {
        "run": run.folder,
        "stage": run.stage,
        "processes": run.processes,
        "sharded": run.sharded,
        "precision": run.precision,
        "train_rows": run.train_rows,
        "batch_size": run.batch_size,
        "batches": run.batches,
        "updates": run.updates,
        "tokens_per_row": row,
        "tokens": round(run.batches * run.rows_trained * row * mean_length),
        "micro_batch_size": run.update.rows,
        "checkpoint_activations": run.update.checkpoint,
        "parameters": {name: network.shape.parameters for name, network in run.networks.items()},
        "memory": {
            "networks": estimate.network_memory(run),
            "phases": estimate.phase_memory(run),
            "peaks": peaks,
            "peak": peak,
            "capacity": None if capacity is None else capacity * _GB,
            "fits": None if capacity is None else peak <= capacity * _GB,
        },
        "flops_per_batch": estimate.flops(usual),
        "hours": None if run.accelerator == "cpu" else estimate.hours(usual, machine),
        "assumed": {**asdict(machine), "mean_length": mean_length},
    }


def show(found: dict[str, Any], console: Console) -> None:
    """Print the facts for people."""
    lines = Table.grid(padding=(0, 2))
    for name, line in summary(found).items():
        lines.add_row(Text(name, style="bold"), Text(line))
    for part in (
        lines,
        networks_table(found),
        phases_table(found),
        Text(_assumptions(found), style="dim"),
    ):
        console.print(part)


def summary(found: dict[str, Any]) -> dict[str, str]:
    """Say in a few lines what the run is, and whether it fits."""
    memory, hours = found["memory"], found["hours"]
    kind = "rollouts" if found["stage"] == "ppo" else "batches"
    batches = f"{found['batches']:,.0f} {kind} of {found['batch_size']:,} rows"
    sharded = ", which share all networks" if found["sharded"] else ""
    kept = "activations checkpointed" if found["checkpoint_activations"] else "all activations kept"
    return {
        "run": f"{found['run']} ({found['stage']})",
        "processes": f"{found['processes']}{sharded}; {found['precision']}",
        "data": f"{found['train_rows']:,} rows to train on; {batches}, {found['updates']:,} updates",
        "tokens": f"{found['tokens']:,}; {found['tokens_per_row']:,} in the longest row",
        "passes": f"{found['micro_batch_size']} rows, {kept}",
        "memory": f"{_size(memory['peak'])} per process at its height: {_verdict(memory)}",
        "time": "not estimated on a CPU" if hours is None else f"{sum(hours.values()):,.1f} h",
    }


def _verdict(memory: dict[str, Any]) -> str:
    if memory["capacity"] is None:
        return "--gpu-memory, or an overlay of experiments/hardware, tells whether it fits"
    size = _size(memory["capacity"])
    if memory["fits"]:
        return f"fits into {size}"
    phase = max(memory["peaks"], key=memory["peaks"].get)
    less = "" if phase == "generation" else ", lower micro_batch_size, set checkpoint_activations"
    return f"does NOT fit into {size} ({phase}): take more GPUs{less}"


def networks_table(found: dict[str, Any]) -> Table:
    """Lay out what each network takes all the time."""
    columns = ("weights", "gradients", "optimizer")
    table = Table("network")
    for column in ("parameters", *columns):
        table.add_column(column, justify="right")
    for name, items in found["memory"]["networks"].items():
        sizes = (_size(items.get(column, 0)) for column in columns)
        table.add_row(name, f"{found['parameters'][name]:,}", *sizes)
    return table


def phases_table(found: dict[str, Any]) -> Table:
    """Lay out the phases: memory on top of the networks, the height of both, FLOPs of a batch, hours of the run."""
    memory, hours = found["memory"], found["hours"] or {}
    columns = ("kept", "work", "gathered")
    table = Table("phase")
    for column in (*columns, "in all", "TFLOP", "hours"):
        table.add_column(column, justify="right")
    for phase, items in memory["phases"].items():
        sizes = (_size(items.get(column, 0)) for column in columns)
        flops = f"{found['flops_per_batch'][phase] / 1e12:,.3g}"
        time = f"{hours[phase]:.1f}" if hours else "-"
        table.add_row(phase, *sizes, _size(memory["peaks"][phase]), flops, time)
    return table


def _assumptions(found: dict[str, Any]) -> str:
    assumed = found["assumed"]
    return (
        f"Memory: the longest rows. TFLOP of a batch, hours of the run: rows of {assumed['mean_length']:.0%} of that "
        f"(--mean-length); {assumed['mfu']:.0%} (--mfu) of {assumed['tflops']:g} TFLOP/s (--tflops) and "
        f"{assumed['bandwidth_tb_s']:g} TB/s (--bandwidth) per GPU; a generated token takes at least "
        f"{1e3 * LAUNCH_S_PER_LAYER:g} ms a layer; no validation, no gathering."
    )


def _size(size: float) -> str:
    if not size:
        return "-"
    return f"{size / _GB:,.1f} GB" if size >= _GB else f"{1000 * size / _GB:,.1f} MB"
