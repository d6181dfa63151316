"""Pooling from tokens to macro actions, and broadcasting back.

Columns at and past a row's count (missing macro actions) hold 0. Gradients flow through all functions.
"""

import functools
from typing import Literal, get_args

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from lightning_marlhf.ops.masking import at_least_float32
from lightning_marlhf.types import MacroActions

Weights = Literal["sum", "equal", "unit", "first", "position", "position_early"]


def pool_tokens(
    token_values: Float[Tensor, "batch response"],
    macro_actions: MacroActions,
    *,
    weights: Weights,
    discount: float = 1.0,
) -> Float[Tensor, "batch macro"]:
    """Reduce the tokens of each macro action to one number: sum_i sigma_i * x_i.

    Args:
        token_values: Values or rewards of the tokens; padding is ignored.
        macro_actions: Macro action of each token.
        weights: The sigma_i of a macro action with m tokens, i = 0..m-1. "sum": 1 (the paper's rewards); "equal": 1/m
            (the paper's default for values; the released code's for rewards as well); "unit": the last token's alone;
            "first": the first token's alone (the value of the state in which the macro action starts); "position":
            1/((m-i) H_m), heavier on late tokens (paper, sec. 3.2); "position_early": 1/((i+1) H_m), heavier on early
            tokens (released code, ``ppo_trainer.py``, ``modeling_macro_action``; rounded to float32, as there). H_m is
            the m-th harmonic number.
        discount: The paper's rho: with "sum", token i counts rho^i. The paper's experiments have 1.

    Returns:
        One number per macro action; 0 if the row has none.

    Raises:
        ValueError: If ``weights`` is unknown, or ``discount`` is not 1 with other weights than "sum".

    >>> from lightning_marlhf.ops.segmentation import fixed_ngram
    >>> macro_actions = fixed_ngram(torch.tensor([[True, True, True, False]]), n=2)
    >>> x = torch.tensor([[1.0, 4.0, 5.0, 9.0]])
    >>> pool_tokens(x, macro_actions, weights="sum").tolist()
    [[5.0, 5.0]]
    >>> pool_tokens(x, macro_actions, weights="position").tolist()  # (1/2 * 1 + 4) / (1/2 + 1)
    [[3.0, 5.0]]
    """
    if weights not in get_args(Weights):
        raise ValueError(f"weights: expected one of {get_args(Weights)}, got {weights!r}")
    if discount != 1.0 and weights != "sum":
        raise ValueError(f'discount: expected 1.0 with weights={weights!r} (only "sum" can), got {discount}')
    x = at_least_float32(token_values)
    if weights == "equal":
        return _sum(x, macro_actions) / lengths(macro_actions).clamp(min=1)
    if weights != "sum":
        x = x * _token_weights(macro_actions, weights, x.dtype)
    elif discount != 1.0:
        x = x * discount ** _place(macro_actions).to(x.dtype)
    return _sum(x, macro_actions)


def spread(
    macro_values: Shaped[Tensor, "batch macro"], macro_actions: MacroActions
) -> Shaped[Tensor, "batch response"]:
    """Broadcast macro-action values to their tokens (same dtype); 0 on padding.

    >>> from lightning_marlhf.ops.segmentation import fixed_ngram
    >>> macro_actions = fixed_ngram(torch.tensor([[True, True, True, False]]), n=2)
    >>> spread(torch.tensor([[7.0, 8.0]]), macro_actions).tolist()
    [[7.0, 7.0, 8.0, 0.0]]
    """
    with_padding = torch.nn.functional.pad(macro_values, (1, 0))
    return with_padding.gather(1, macro_actions.index + 1)


def lengths(macro_actions: MacroActions) -> Int[Tensor, "batch macro"]:
    """Count the tokens of each macro action; 0 if the row has none.

    >>> from lightning_marlhf.ops.segmentation import fixed_ngram
    >>> lengths(fixed_ngram(torch.tensor([[True, True, True], [True, False, False]]), n=2)).tolist()
    [[2, 1], [1, 0]]
    """
    return _sum(torch.ones_like(macro_actions.index), macro_actions)


def _sum(x: Tensor, macro_actions: MacroActions) -> Tensor:
    """Sum over each macro action. Padding, with index -1, falls into a column that is cut off."""
    sums = x.new_zeros(x.shape[0], macro_actions.width + 1)
    return sums.scatter_add(1, macro_actions.index + 1, x)[:, 1:]


def _token_weights(macro_actions: MacroActions, weights: Weights, dtype: torch.dtype) -> Tensor:
    """Return the weight of each token; those of a macro action add up to 1. On padding: any number."""
    place = _place(macro_actions)
    if weights == "first":
        return (place == 0).to(dtype)
    length = spread(lengths(macro_actions), macro_actions).clamp(min=1)
    if weights == "position_early":
        size = 1 << max(length.shape[1] - 1, 0).bit_length()  # a power of two, so that the tables are few
        harmonic = _released_harmonic_numbers(size, length.device)
        return ((place + 1).to(torch.float32).reciprocal() / harmonic[length]).to(dtype)
    tokens_left = (length - place).clamp(min=1)
    if weights == "unit":
        return (tokens_left == 1).to(dtype)
    numbers = torch.arange(1, length.shape[1] + 1, device=length.device, dtype=dtype)
    harmonic = numbers.reciprocal().cumsum(dim=0)
    return tokens_left.to(dtype).reciprocal() / harmonic[length - 1]


@functools.lru_cache
def _released_harmonic_numbers(size: int, device: torch.device) -> Float[Tensor, " lengths"]:
    """Add up 1, 1/2, ..., 1/m for each m up to ``size`` (1 for m = 0) as the released code does.

    It makes these weights in float32 whatever the dtype of the values, and how float32 sums are
    rounded shows in its numbers, from 1e-8 on.
    """
    reciprocals = torch.arange(1, size + 1, dtype=torch.float32).reciprocal()
    sums = [reciprocals[:m].sum() for m in range(1, size + 1)]
    return torch.stack([torch.ones(()), *sums]).to(device)


def _place(macro_actions: MacroActions) -> Int[Tensor, "batch response"]:
    """Number the tokens of each macro action from 0 (on padding: something from 0 up)."""
    index = macro_actions.index
    column = torch.arange(index.shape[1], device=index.device).expand_as(index)
    is_start = torch.ones_like(index, dtype=torch.bool)
    is_start[:, 1:] = index[:, 1:] != index[:, :-1]
    start = torch.where(is_start, column, 0).cummax(dim=1).values
    return column - start
