"""Hidden states at response positions -> log-probabilities of given tokens, and entropy.

The logits of all positions never exist at once: Gemma's vocabulary has 256,000 entries, and 1,024
positions of float32 logits are 1 GB. They are made for ``chunk`` positions at a time and made again
in the backward pass. Where all positions fit into one chunk nothing is computed twice.

Not here: top-k and top-p. The log-probabilities are those of the full distribution, as in the released code.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from lightning_marlhf.types import TokenLogprobs


def from_hidden(
    hidden: Float[Tensor, "batch response hidden"],
    weight: Float[Tensor, "vocab hidden"],
    targets: Int[Tensor, "batch response"],
    *,
    bias: Float[Tensor, " vocab"] | None = None,
    temperature: float,
    softcap: float | None,
    chunk: int,
    with_entropy: bool = True,
) -> TokenLogprobs:
    """Score given tokens under a language model's head.

    Args:
        hidden: The last hidden state at the position **before** each token, after the final norm.
        weight: The head's (often the embedding's) matrix.
        targets: The tokens. Padding tokens are scored like any other; mask the result.
        bias: The head's bias, if it has one.
        temperature: Divides the logits, after soft-capping as in ``generate()``.
        softcap: Gemma-2's final soft-cap c: logits become c * tanh(logits / c). None does not cap.
        chunk: Positions (of all rows together) whose logits may exist at once: ``chunk * vocab`` float32.
        with_entropy: False leaves the entropy at 0 and saves its time.

    Returns:
        Log-probability and entropy (nats) per position, in float32, or float64 for float64 inputs.
        Gradients flow from both to ``hidden``, ``weight`` and ``bias``.

    Raises:
        ValueError: If ``temperature``, ``softcap`` or ``chunk`` is not above 0.

    >>> hidden = torch.zeros(1, 2, 3)  # all logits are 0: four tokens of probability 1/4
    >>> scored = from_hidden(
    ...     hidden, torch.ones(4, 3), torch.tensor([[0, 3]]), temperature=1.0, softcap=None, chunk=8
    ... )
    >>> scored.logprobs.exp().tolist(), round(scored.entropy[0, 0].exp().item(), 4)
    ([[0.25, 0.25]], 4.0)
    """
    for name, option in (("temperature", temperature), ("softcap", softcap), ("chunk", chunk)):
        if option is not None and not option > 0:
            raise ValueError(f"{name}: expected a number above 0, got {option}")
    options = _Options(temperature, softcap, chunk, with_entropy)
    logprobs, entropy = _HeadLogprobs.apply(  # type: ignore[no-untyped-call]
        hidden.flatten(0, 1), weight, bias, targets.flatten(), options
    )
    return TokenLogprobs(logprobs.view(targets.shape), entropy.view(targets.shape))


@dataclass(frozen=True)
class _Options:
    temperature: float
    softcap: float | None
    chunk: int
    with_entropy: bool


class _HeadLogprobs(torch.autograd.Function):
    """Head, log-softmax and gather fused, so that the backward pass can make the logits again."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, options: _Options
    ) -> tuple[Tensor, Tensor]:
        logprobs = hidden.new_empty(targets.shape, dtype=_result_dtype(hidden))
        entropy = torch.zeros_like(logprobs)
        scores = None
        with torch.autocast(hidden.device.type, enabled=False):
            ready_weight = _ready(weight, hidden)
            for rows in _chunks(targets, options):
                logits = _logits(hidden[rows], ready_weight, bias, options)
                scores = _log_softmax(logits, options)
                logprobs[rows] = scores.gather(1, targets[rows, None]).squeeze(1)
                if options.with_entropy:
                    entropy[rows] = -torch.linalg.vecdot(scores.exp(), scores)
        reusable = len(targets) <= options.chunk and options.softcap is None
        kept_scores = scores if reusable else None
        ctx.save_for_backward(hidden, weight, bias, targets, entropy, kept_scores)
        ctx.options = options
        ctx.set_materialize_grads(False)
        if not options.with_entropy:
            ctx.mark_non_differentiable(entropy)
        return logprobs, entropy

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, to_logprobs: Tensor | None, to_entropy: Tensor | None
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None, None, None]:
        with torch.autocast(ctx.saved_tensors[0].device.type, enabled=False):
            gradients = _gradients(ctx, to_logprobs, to_entropy)
        return *gradients, None, None  # autograd casts them to the inputs' dtypes


def _gradients(
    ctx: Any, to_logprobs: Tensor | None, to_entropy: Tensor | None
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Return the gradients of hidden states, weight and bias, as far as they are needed."""
    hidden, weight, bias, targets, entropy, kept_scores = ctx.saved_tensors
    options, (needs_hidden, needs_weight, needs_bias, *_) = ctx.options, ctx.needs_input_grad
    dtype = entropy.dtype
    to_logprobs = torch.zeros_like(entropy) if to_logprobs is None else to_logprobs
    to_weight = torch.zeros_like(weight, dtype=dtype) if needs_weight else None
    to_bias = torch.zeros_like(bias, dtype=dtype) if needs_bias else None
    ready_weight = _ready(weight, hidden)
    to_hidden = torch.empty_like(hidden, dtype=ready_weight.dtype) if needs_hidden else None
    for rows in _chunks(targets, options):
        logits, scores = None, kept_scores
        if scores is None:
            logits = _logits(hidden[rows], ready_weight, bias, options)
            scores = _log_softmax(logits, options)
        factors = _factors(scores, entropy, to_logprobs, to_entropy, rows)
        to_logits = scores.exp().mul_(factors.neg())
        to_logits.scatter_add_(1, targets[rows, None], to_logprobs[rows, None])
        _scale_by_slope(to_logits, logits, options)
        if to_bias is not None:
            to_bias += to_logits.sum(dim=0)
        to_logits = to_logits.to(ready_weight.dtype)
        if to_hidden is not None:
            torch.mm(to_logits, ready_weight, out=to_hidden[rows])
        if to_weight is not None:
            to_weight += _matmul(to_logits.t(), hidden[rows].to(to_logits.dtype))
    return to_hidden, to_weight, to_bias


def _factors(scores: Tensor, entropy: Tensor, to_logprobs: Tensor, to_entropy: Tensor | None, rows: slice) -> Tensor:
    """Return the factor of -p in the gradient of the final logits z.

    With p = softmax(z), y the target and H the entropy, the gradients g of log p_y and h of H give
    dz = g * onehot_y - p * (g + h * (log p + H)).
    """
    factors = to_logprobs[rows, None]
    if to_entropy is None:
        return factors
    return factors + to_entropy[rows, None] * (scores + entropy[rows, None])


def _scale_by_slope(to_logits: Tensor, logits: Tensor | None, options: _Options) -> None:
    """Go back, in place, through temperature and soft-cap, whose slope is 1 - (logits / c)^2."""
    if options.temperature != 1.0:
        to_logits.div_(options.temperature)
    if options.softcap is not None and logits is not None:
        to_logits.mul_(1.0 - (logits / options.softcap).square())


def _logits(hidden: Tensor, weight: Tensor, bias: Tensor | None, options: _Options) -> Tensor:
    """Return soft-capped logits in float32 or better, before the temperature."""
    logits = _matmul(hidden.to(weight.dtype), weight.t())
    if bias is not None:
        logits = logits + bias
    if options.softcap is not None:
        logits = options.softcap * torch.tanh(logits / options.softcap)
    return logits


def _log_softmax(logits: Tensor, options: _Options) -> Tensor:
    scaled = logits if options.temperature == 1.0 else logits / options.temperature
    return torch.log_softmax(scaled, dim=1)


def _ready(weight: Tensor, hidden: Tensor) -> Tensor:
    """Put the weight into the dtype of the products; half precision only where sums are float32."""
    return weight.to(hidden.dtype if hidden.is_cuda else _result_dtype(hidden))


def _matmul(a: Tensor, b: Tensor) -> Tensor:
    """Multiply into float32 or better; CUDA does so from half precision without rounding back."""
    if a.dtype in (torch.bfloat16, torch.float16):
        return torch.mm(a, b, out_dtype=torch.float32)
    return a @ b


def _result_dtype(hidden: Tensor) -> torch.dtype:
    return torch.promote_types(hidden.dtype, torch.float32)


def _chunks(targets: Tensor, options: _Options) -> Iterator[slice]:
    return (slice(start, start + options.chunk) for start in range(0, len(targets), options.chunk))
