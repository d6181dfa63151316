"""The output of `plan`: facts as JSON, and as tables."""

from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from lightning_marlhf.planning import flops, memory
from lightning_marlhf.planning.planned_run import PlannedRun

GB = 1e9  # less than the 2**30 bytes by which GPUs are sold: 7 % are left for CUDA and the allocator


def facts(run: PlannedRun, machine: flops.Machine, *, capacity: float | None, mean_length: float) -> dict[str, Any]:
    """Collect what is shown.

    Args:
        run: The run.
        machine: Assumptions about each GPU.
        capacity: Memory of each GPU in GB; None if it is unknown.
        mean_length: Mean length of rows as a fraction of the longest row.
    """
    peaks = memory.peaks(run)
    peak = max(peaks.values())
    usual = flops.at_mean_length(run, mean_length)
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
            "networks": memory.network_memory(run),
            "phases": memory.phase_memory(run),
            "peaks": peaks,
            "peak": peak,
            "capacity": None if capacity is None else capacity * GB,
            "fits": None if capacity is None else peak <= capacity * GB,
        },
        "flops_per_batch": flops.batch_flops(usual),
        "hours": None if run.accelerator == "cpu" else flops.hours(usual, machine),
        "assumed": {**asdict(machine), "mean_length": mean_length},
    }


def show(found: dict[str, Any], console: Console) -> None:
    """Print the facts for people."""
    lines = Table.grid(padding=(0, 2))
    for name, line in _lines(found).items():
        lines.add_row(Text(name, style="bold"), Text(line))
    for part in (lines, _networks(found), _phases(found), Text(_assumptions(found), style="dim")):
        console.print(part)


def _lines(found: dict[str, Any]) -> dict[str, str]:
    """Describe the run in a few lines, and whether it fits."""
    sizes, hours = found["memory"], found["hours"]
    kind = "rollouts" if found["stage"] == "ppo" else "batches"
    batches = f"{found['batches']:,.0f} {kind} of {found['batch_size']:,} rows"
    sharded = ", which share all networks" if found["sharded"] else ""
    kept = "activations checkpointed" if found["checkpoint_activations"] else "all activations kept"
    return {
        "run": f"{found['run']} ({found['stage']})",
        "processes": f"{found['processes']}{sharded}; {found['precision']}",
        "data": f"{found['train_rows']:,} training rows; {batches}, {found['updates']:,} updates",
        "tokens": f"{found['tokens']:,}; {found['tokens_per_row']:,} in the longest row",
        "micro-batch": f"{found['micro_batch_size']} rows, {kept}",
        "peak memory": f"{_size(sizes['peak'])} per process: {_verdict(sizes)}",
        "time": "not estimated on a CPU" if hours is None else f"{sum(hours.values()):,.1f} h",
    }


def _verdict(sizes: dict[str, Any]) -> str:
    if sizes["capacity"] is None:
        return "--gpu-memory, or an overlay of experiments/hardware, sets the GPU memory to compare with"
    size = _size(sizes["capacity"])
    if sizes["fits"]:
        return f"fits into {size}"
    phase = max(sizes["peaks"], key=sizes["peaks"].get)
    less = "" if phase == "generation" else ", lower micro_batch_size, set checkpoint_activations"
    return f"does NOT fit into {size} ({phase}): use more GPUs{less}"


def _networks(found: dict[str, Any]) -> Table:
    """Lay out the memory that each network takes throughout the run."""
    columns = ("weights", "gradients", "optimizer")
    table = _table("network", "parameters", *columns)
    for name, items in found["memory"]["networks"].items():
        sizes = (_size(items.get(column, 0)) for column in columns)
        table.add_row(name, f"{found['parameters'][name]:,}", *sizes)
    return table


def _phases(found: dict[str, Any]) -> Table:
    """Lay out the phases: memory added to the networks, the peak of both, FLOPs of a batch, hours of the run."""
    columns = ("kept", "work", "gathered")
    table = _table("phase", *columns, "peak", "TFLOP", "hours")
    for phase, items in found["memory"]["phases"].items():
        sizes = (_size(items.get(column, 0)) for column in columns)
        cost = f"{found['flops_per_batch'][phase] / 1e12:,.3g}"
        time = f"{found['hours'][phase]:.1f}" if found["hours"] else "-"
        table.add_row(phase, *sizes, _size(found["memory"]["peaks"][phase]), cost, time)
    return table


def _table(first: str, *numbers: str) -> Table:
    table = Table(first)
    for column in numbers:
        table.add_column(column, justify="right")
    return table


def _assumptions(found: dict[str, Any]) -> str:
    assumed = found["assumed"]
    return (
        f"Memory: the longest rows. TFLOP of a batch, hours of the run: rows of {assumed['mean_length']:.0%} of that "
        f"(--mean-length); {assumed['mfu']:.0%} (--mfu) of {assumed['tflops']:g} TFLOP/s (--tflops) and "
        f"{assumed['bandwidth']:g} TB/s (--bandwidth) per GPU; a generated token takes at least "
        f"{1e3 * flops.LAUNCH_S_PER_LAYER:g} ms a layer; no validation, no gathering."
    )


def _size(size: float) -> str:
    if not size:
        return "-"
    return f"{size / GB:,.1f} GB" if size >= GB else f"{1000 * size / GB:,.1f} MB"
