"""FLOPs and hours of a run, from closed formulas.

Letters as in `memory.py`. Forward pass: 2NM + 4NTadL + 2N'Vh FLOPs; backward pass: twice that. Checkpointing runs the
layers once more, chunking the head. The tests compare with `torch.utils.flop_counter`.
"""

from dataclasses import dataclass, replace

from lightning_marlhf.planning.memory import Items, cache
from lightning_marlhf.planning.planned_run import Pass, PlannedRun, Shape, is_scorer
from lightning_marlhf.ranges import Positive, UnitInterval, checked

LAUNCH_S_PER_LAYER = 1e-3  # a decoding step of generate() on a GPU: kernels are launched one by one


@checked
@dataclass(frozen=True)
class Machine:
    """Assumed GPU performance; the defaults are an A100 80 GB.

    Args:
        tflops: Peak of one GPU in bf16, dense.
        mfu: Model FLOPs utilisation of training and scoring.
        bandwidth: Memory bandwidth of one GPU in TB/s.
    """

    tflops: Positive = 312.0
    mfu: UnitInterval = 0.4
    bandwidth: Positive = 2.0


def batch_flops(run: PlannedRun) -> Items:
    """FLOPs of one batch by phase, over all processes."""
    passes = run.ppo_epochs * run.rows_trained / run.update.rows
    learning = (network.shape for network in run.networks.values() if network.learns)
    phases = {"update": passes * sum(training_flops(shape, run.update) for shape in learning)}
    if not run.response:
        return phases
    whole = replace(run.update, rows=run.batch_size)
    forward = {name: forward_flops(n.shape, whole) for name, n in run.networks.items()}
    policy = run.networks["policy"].shape
    return {
        "generation": generation_flops(policy, run.batch_size, run.prompt, run.response),
        "scoring": sum(cost for name, cost in forward.items() if is_scorer(name)),
        "logprobs": forward["policy"]
        + forward["critic"]
        + run.reference_passes * forward.get("reference", forward["policy"]),
        **phases,
    }


def hours(run: PlannedRun, machine: Machine) -> Items:
    """Hours of the run by phase; validation and loading are not counted."""
    speed = run.processes * machine.tflops * 1e12 * machine.mfu
    seconds = {phase: run.batches * cost / speed for phase, cost in batch_flops(run).items()}
    if run.response:
        seconds["generation"] += run.batches * run.response * _step_seconds(run, machine)
    return {phase: value / 3600 for phase, value in seconds.items()}


def _step_seconds(run: PlannedRun, machine: Machine) -> float:
    """Time one decoding step: all weights are read and, on average, the prompt's cache and half the response's."""
    shape, precision = run.networks["policy"].shape, run.networks["policy"].precision
    read = shape.parameters * (precision.compute if run.sharded else precision.weight)
    read += cache(shape, run.rows, run.prompt + run.response // 2, precision)
    return max(read / (machine.bandwidth * 1e12), shape.layers * LAUNCH_S_PER_LAYER)


def at_mean_length(run: PlannedRun, share: float) -> PlannedRun:
    """Shorten all rows to ``share`` of their longest."""
    prompt, response = (round(share * length) for length in (run.prompt, run.response))
    width = prompt + response
    update = replace(run.update, width=width, targets=response or width - 1)
    return replace(run, prompt=prompt, response=response, update=update)


def forward_flops(shape: Shape, run: Pass) -> float:
    """FLOPs of a forward pass."""
    return _layer_flops(shape, run) + _head_flops(shape, run)


def training_flops(shape: Shape, run: Pass) -> float:
    """FLOPs of a forward and a backward pass."""
    layers, top = _layer_flops(shape, run), _head_flops(shape, run)
    again = 0 if run.scores_are_kept(shape) else 1
    return (3 + run.checkpoint) * layers + (3 + again) * top


def generation_flops(shape: Shape, rows: int, prompt: int, response: int) -> float:
    """FLOPs of generating responses to ``rows`` prompts with a cache."""
    read = prompt + response - 1  # the last token is written only
    seen = prompt * prompt + sum(range(prompt + 1, read + 1))  # keys that each of them looks at
    attention = 4 * seen * shape.heads * shape.head_dim * shape.layers
    top = 2 * response * shape.vocabulary * shape.hidden
    return rows * (2 * read * shape.matrices + attention + top)


def _layer_flops(shape: Shape, run: Pass) -> float:
    attention = 4 * run.width * shape.heads * shape.head_dim * shape.layers
    return run.tokens * (2 * shape.matrices + attention)


def _head_flops(shape: Shape, run: Pass) -> float:
    return 2.0 * run.rows * run.targets * shape.vocabulary * shape.hidden
