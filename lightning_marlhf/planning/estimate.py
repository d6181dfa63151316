"""A planned run's memory per process, FLOPs and hours, by the formulas of `budget.py`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from lightning_marlhf.planning import memory as budget
from lightning_marlhf.planning.memory import Pass
from lightning_marlhf.ranges import Positive, UnitInterval, checked

if TYPE_CHECKING:
    from lightning_marlhf.planning.planned_run import Network, PlannedRun

Items = dict[str, float]

LAUNCH_S_PER_LAYER = 1e-3  # a decoding step of generate() on a GPU: kernels are launched one by one


@checked
@dataclass(frozen=True)
class Machine:
    """What is assumed of each GPU; the defaults are an A100's of 80 GB."""

    tflops: Positive = 312.0  # bf16, dense
    mfu: UnitInterval = 0.4  # share of them that passes reach
    bandwidth_tb_s: Positive = 2.0  # of its memory


def network_memory(run: PlannedRun) -> dict[str, Items]:
    """Bytes that each network takes all the time; gradients are there during updates alone."""
    shards = run.processes if run.sharded else 1
    items = {}
    for name, network in run.networks.items():
        there = budget.static_memory(
            network.shape, network.precision, shards=shards, learning=network.learning
        )
        frozen = {} if run.offloads else {"weights": there["weights"]}
        items[name] = there if network.learns else frozen
    return items


def phase_memory(run: PlannedRun) -> dict[str, Items]:
    """Bytes that the parts of a step take on top of the networks.

    Returns:
        By phase: what is "kept" (a cache, or activations for the backward pass), the largest "work" at one time, and
        weights "gathered" from other processes.
    """
    learning = [network for network in run.networks.values() if network.learns]
    phases = {"update": max((_update(run, network) for network in learning), key=_total)}
    if not run.response:
        return phases
    scorers = [_forward(run, n) for name, n in run.networks.items() if is_scorer(name)]
    others = [_forward(run, n) for name, n in run.networks.items() if not is_scorer(name)]
    return {
        "generation": _generation(run),
        "scoring": max(scorers, key=_total, default={}),
        "logprobs": max(others, key=_total),
        **phases,
    }


def is_scorer(name: str) -> bool:
    """Tell the reward models of a PPO run by their names."""
    return name.startswith("scorer ")


def peaks(run: PlannedRun) -> Items:
    """Bytes in use at the height of each phase, networks and all."""
    networks = network_memory(run).values()
    gradients = sum(items.get("gradients", 0.0) for items in networks)
    static = sum(map(_total, networks)) - gradients
    return {
        phase: static + _total(items) + (gradients if phase == "update" else 0.0)
        for phase, items in phase_memory(run).items()
    }


def _total(items: Items) -> float:
    return sum(items.values())


def _update(run: PlannedRun, network: Network) -> Items:
    shape, precision = network.shape, network.precision
    again = budget.rerun(shape, run.update, precision)
    return {
        "kept": budget.activations(shape, run.update, precision),
        "work": max(again, budget.head(shape, run.update, training=True)),
        "gathered": _gathered(run, network, whole=False),
    }


def _forward(run: PlannedRun, network: Network) -> Items:
    largest = replace(run.update, rows=min(network.micro_batch_size, run.rows))
    work = budget.workspace(network.shape, largest, network.precision)
    head = budget.head(network.shape, largest, training=False)
    return {"work": max(work, head), "gathered": _gathered(run, network, whole=False)}


def _generation(run: PlannedRun) -> Items:
    policy = run.networks["policy"]
    prompts = Pass(run.rows, run.prompt, targets=1, chunk=run.rows)
    work = budget.workspace(policy.shape, prompts, policy.precision)
    return {
        "kept": budget.cache(policy.shape, run.rows, run.prompt + run.response, policy.precision),
        "work": max(work, budget.sampling(policy.shape, run.rows)),
        "gathered": _gathered(run, policy, whole=run.gathers_whole),
    }


def _gathered(run: PlannedRun, network: Network, *, whole: bool) -> float:
    return budget.gathered(network.shape, network.precision, whole=whole) if run.sharded else 0.0


def flops(run: PlannedRun) -> Items:
    """FLOPs of one batch by phase, over all processes."""
    passes = run.ppo_epochs * run.rows_trained / run.update.rows
    learning = (network.shape for network in run.networks.values() if network.learns)
    phases = {
        "update": passes * sum(budget.training_flops(shape, run.update) for shape in learning)
    }
    if not run.response:
        return phases
    whole = replace(run.update, rows=run.batch_size)
    forward = {name: budget.forward_flops(n.shape, whole) for name, n in run.networks.items()}
    judged = {name: cost for name, cost in forward.items() if is_scorer(name)}
    policy = run.networks["policy"].shape
    return {
        "generation": budget.generation_flops(policy, run.batch_size, run.prompt, run.response),
        "scoring": _total(judged),
        "logprobs": forward["policy"]
        + forward["critic"]
        + run.reference_passes * forward.get("reference", forward["policy"]),
        **phases,
    }


def hours(run: PlannedRun, machine: Machine) -> Items:
    """Hours of the whole run by phase; validation and loading are not counted."""
    speed = run.processes * machine.tflops * 1e12 * machine.mfu
    seconds = {phase: run.batches * cost / speed for phase, cost in flops(run).items()}
    if run.response:
        seconds["generation"] += run.batches * run.response * _step_seconds(run, machine)
    return {phase: value / 3600 for phase, value in seconds.items()}


def _step_seconds(run: PlannedRun, machine: Machine) -> float:
    """Time one decoding step: all weights are read and, on average, the prompt's cache and half the response's."""
    shape, precision = run.networks["policy"].shape, run.networks["policy"].precision
    read = shape.parameters * (precision.compute if run.sharded else precision.weight)
    read += budget.cache(shape, run.rows, run.prompt + run.response // 2, precision)
    return max(read / (machine.bandwidth_tb_s * 1e12), shape.layers * LAUNCH_S_PER_LAYER)


def at_mean_length(run: PlannedRun, share: float) -> PlannedRun:
    """Shorten all rows to ``share`` of their longest."""
    prompt, response = (round(share * length) for length in (run.prompt, run.response))
    width = prompt + response
    update = replace(run.update, width=width, targets=response or width - 1)
    return replace(run, prompt=prompt, response=response, update=update)
