"""Memory of a run per GPU, from closed formulas: static memory of networks, plus the peak of each phase.

The formulas are those of decoders with gated MLPs (Gemma, Gemma-2, Llama).

Letters: L layers; h hidden units, f of the MLP; a heads of d, k key-value heads; V tokens of the vocabulary; M weights
in the layers' matrices; N tokens of a pass, T of a row. Bytes of a number: c where layers compute, r between layers.

Activations that a pass keeps for its backward pass, in bytes per token and layer:

    a norm                2 fp32 arrays: input and normalised             8h
    inputs of matrices    attention and MLP; autocast casts each apart    2hc, autocast 5hc
    attention             query, key, value (repeated), output            4adc
      fused               its mask and one sum of exponents per head      Tc + 4a
      soft-capped         scores after tanh and softmax, and their cast   aT(c + 4), and aTc where c < 4
    MLP                   gate, its activation, up, product               4fc

and once: the last norm (8h), rotations (2dr), the mask (T). Autocast keeps its casts of the weights too: cM. With
checkpointing a layer keeps its input alone (hr); one layer at a time is run again, when the head's work is done.

Head, for the N' tokens that are scored, in chunks of n: 4 fp32 arrays of min(N', n) x V at once, 6 where logits are
capped; and twice Vh fp32 for the gradient of its matrix. It keeps one of them, where one chunk is enough and logits are
not capped: else it makes them again.

Without a backward pass: 3 arrays of the MLP and 3 of the hidden states, N(3fc + 12h); soft-capped scores, 3NaT fp32.
Sampling: one fp32 and four fp64 numbers per row and token of the vocabulary. Cache, per token and layer: kd keys, which
autocast leaves at r bytes, and kd values of c bytes; sliding windows count as full.
"""

from dataclasses import replace

from lightning_marlhf.planning.planned_run import Network, Pass, PlannedRun, Precision, Shape, is_scorer

Items = dict[str, float]

FP32, FP64 = 4, 8
ADAM_MOMENTS = 2


def network_memory(run: PlannedRun) -> dict[str, Items]:
    """Bytes that each network takes throughout the run; gradients exist during updates only."""
    shards = run.processes if run.sharded else 1
    items = {}
    for name, network in run.networks.items():
        there = static_memory(network.shape, network.precision, shards=shards, learning=network.learning)
        frozen = {} if run.offloads else {"weights": there["weights"]}
        items[name] = there if network.learns else frozen
    return items


def phase_memory(run: PlannedRun) -> dict[str, Items]:
    """Bytes that each phase of a step adds to the networks.

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


def peaks(run: PlannedRun) -> Items:
    """Peak bytes of each phase, networks included."""
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
    again = rerun(shape, run.update, precision)
    return {
        "kept": activations(shape, run.update, precision),
        "work": max(again, head(shape, run.update, training=True)),
        "gathered": _gathered(run, network, full=False),
    }


def _forward(run: PlannedRun, network: Network) -> Items:
    largest = replace(run.update, rows=min(network.micro_batch_size, run.rows))
    work = max(workspace(network.shape, largest, network.precision), head(network.shape, largest, training=False))
    return {"work": work, "gathered": _gathered(run, network, full=False)}


def _generation(run: PlannedRun) -> Items:
    policy = run.networks["policy"]
    prompts = Pass(run.rows, run.prompt, targets=1, chunk=run.rows)
    work = workspace(policy.shape, prompts, policy.precision)
    return {
        "kept": cache(policy.shape, run.rows, run.prompt + run.response, policy.precision),
        "work": max(work, sampling(policy.shape, run.rows)),
        "gathered": _gathered(run, policy, full=run.gathers_full_policy),
    }


def _gathered(run: PlannedRun, network: Network, *, full: bool) -> float:
    return gathered(network.shape, network.precision, full=full) if run.sharded else 0.0


def static_memory(shape: Shape, precision: Precision, *, shards: int, learning: int | None = None) -> dict[str, float]:
    """Bytes of a network that learns: its weights, and gradients and optimizer state of ``learning`` weights (all).

    AdamW's moments are in fp32 or better; for weights in half precision it has a copy in fp32, too.
    """
    weights = shape.parameters * precision.weight / shards
    count = (shape.parameters if learning is None else learning) / shards
    kept = ADAM_MOMENTS + (precision.weight < FP32)
    optimizer = kept * count * max(precision.weight, FP32)
    return {"weights": weights, "gradients": count * precision.weight, "optimizer": optimizer}


def activations(shape: Shape, run: Pass, precision: Precision) -> float:
    """Bytes that a training pass keeps for its backward pass, the head's scores left out."""
    once = 8 * shape.hidden + 2 * shape.head_dim * precision.residual + run.width
    if run.checkpoint:
        layers = run.tokens * shape.layers * shape.hidden * precision.residual
    else:
        layers = shape.layers * _layer(shape, run, precision)
    return layers + run.tokens * once


def rerun(shape: Shape, run: Pass, precision: Precision) -> float:
    """Bytes of the one layer that checkpointing runs again."""
    return _layer(shape, run, precision) if run.checkpoint else 0.0


def _layer(shape: Shape, run: Pass, precision: Precision) -> float:
    casts = precision.compute * shape.matrices / shape.layers if precision.autocast else 0.0
    return run.tokens * _layer_bytes_per_token(shape, run.width, precision) + casts


def _layer_bytes_per_token(shape: Shape, width: int, precision: Precision) -> float:
    c = precision.compute
    norms = shape.norms * 2 * FP32 * shape.hidden
    inputs = (5 if precision.autocast else 2) * shape.hidden * c
    attention = 4 * shape.heads * shape.head_dim * c
    if shape.soft_capped:
        attention += shape.heads * width * (c + FP32 + (c if c < FP32 else 0))
    else:
        attention += width * c + FP32 * shape.heads
    return norms + inputs + attention + 4 * shape.intermediate * c


def scores(shape: Shape, run: Pass) -> float:
    """Bytes of the log-probabilities over the vocabulary that are kept for the backward pass."""
    return FP32 * run.rows * run.targets * shape.vocabulary * run.scores_are_kept(shape)


def head(shape: Shape, run: Pass, *, training: bool) -> float:
    """Bytes of the head's work at its peak; includes what it keeps."""
    arrays = 6 if shape.final_soft_capped else 4
    logits = arrays * FP32 * min(run.rows * run.targets, run.chunk) * shape.vocabulary
    return logits + (2 * FP32 * shape.vocabulary * shape.hidden if training else 0)


def workspace(shape: Shape, run: Pass, precision: Precision) -> float:
    """Bytes of a pass without backward pass, head left out."""
    widest = 3 * shape.intermediate * precision.compute + 3 * FP32 * shape.hidden
    attention = 3 * FP32 * shape.heads * run.width if shape.soft_capped else 0
    return run.tokens * (widest + attention)


def cache(shape: Shape, rows: int, capacity: int, precision: Precision) -> float:
    """Bytes of keys and values of ``rows`` rows with room for ``capacity`` tokens each."""
    token = shape.key_value_heads * shape.head_dim * (precision.residual + precision.compute)
    return rows * capacity * shape.layers * token


def sampling(shape: Shape, rows: int) -> float:
    """Bytes that choosing one token per row needs."""
    return rows * shape.vocabulary * (FP32 + 4 * FP64)


def gathered(shape: Shape, precision: Precision, *, full: bool) -> float:
    """Bytes of weights gathered from all shards: all of them to generate, else embeddings and two layers at a time."""
    if full:
        return shape.parameters * precision.compute
    outside = shape.parameters - shape.matrices
    return (outside + 2 * shape.matrices / shape.layers) * precision.compute
