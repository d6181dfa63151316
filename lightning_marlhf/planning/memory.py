"""Memory and FLOPs of a decoder with gated MLPs (Gemma, Gemma-2, Llama), on paper.

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

FLOPs: forward 2NM + 4NTadL + 2N'Vh; backward twice that. Checkpointing runs the layers once more, chunking the head.
"""

from dataclasses import dataclass

FP32, FP64 = 4, 8
ADAM_MOMENTS = 2


@dataclass(frozen=True)
class Shape:
    """What the arithmetic needs to know of a network."""

    parameters: int
    matrices: int  # weights of the layers' matrices
    vocabulary: int  # 0 for a network with a scalar head
    layers: int
    hidden: int
    intermediate: int
    heads: int
    key_value_heads: int
    head_dim: int
    norms: int  # per layer
    soft_capped: bool  # attention, which then keeps its scores
    final_soft_capped: bool = False  # logits


@dataclass(frozen=True)
class Precision:
    """How numbers are kept."""

    weight: int  # bytes
    compute: int  # bytes, in matrices and attention
    autocast: bool  # layers cast weights and inputs themselves

    @property
    def residual(self) -> int:
        """Bytes of a hidden state between layers."""
        return self.weight if self.autocast else self.compute


@dataclass(frozen=True)
class Pass:
    """One pass over some rows."""

    rows: int
    width: int  # tokens of a row
    targets: int  # tokens of a row whose log-probabilities are taken
    chunk: int  # tokens whose logits exist at once
    checkpoint: bool = False

    @property
    def tokens(self) -> int:
        """Tokens of all rows."""
        return self.rows * self.width

    def scores_are_kept(self, shape: Shape) -> bool:
        """Tell whether the head's log-probabilities are kept for the backward pass, or made again."""
        return self.rows * self.targets <= self.chunk and not shape.final_soft_capped


def static_memory(
    shape: Shape, precision: Precision, *, shards: int, learning: int | None = None
) -> dict[str, float]:
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


def gathered(shape: Shape, precision: Precision, *, whole: bool) -> float:
    """Bytes of weights gathered from all shards: all of them to generate, else embeddings and two layers at a time."""
    if whole:
        return shape.parameters * precision.compute
    outside = shape.parameters - shape.matrices
    return (outside + 2 * shape.matrices / shape.layers) * precision.compute


def forward_flops(shape: Shape, run: Pass) -> float:
    """FLOPs of a forward pass."""
    return _layer_flops(shape, run) + _head_flops(shape, run)


def training_flops(shape: Shape, run: Pass) -> float:
    """FLOPs of a forward and a backward pass."""
    layers, top = _layer_flops(shape, run), _head_flops(shape, run)
    again = 0 if run.scores_are_kept(shape) else 1
    return (3 + run.checkpoint) * layers + (3 + again) * top


def generation_flops(shape: Shape, rows: int, prompt: int, response: int) -> float:
    """FLOPs of answering ``rows`` prompts with a cache."""
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
