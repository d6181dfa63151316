"""Macro actions: where one ends and the next begins, for each row on its own (paper, sec. 3.1).

Each function is a partition of the response tokens: every real token is in exactly one macro
action, padding in none, none is empty. A row without tokens has none. The real tokens of a row
stand together; how much padding is before or after them changes nothing. Parsing text into spans is
not done here (see ``rollout/parsing.py``): ``from_starts`` takes the result.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lightning_marlhf.ops import random
from lightning_marlhf.ops.masking import last_token
from lightning_marlhf.types import MacroActions

Boundary = Literal["rise", "released"]


def fixed_ngram(response_mask: Bool[Tensor, "batch response"], *, n: int | None) -> MacroActions:
    """End a macro action every ``n`` tokens; the last one of a row may be shorter.

    Args:
        response_mask: True on response tokens up to and including EOS.
        n: Tokens per macro action. 1 is token PPO; None is one macro action for the whole response.

    Returns:
        The macro actions of each row.

    Raises:
        ValueError: If ``n`` is below 1.

    >>> mask = torch.tensor([[True, True, True], [True, False, False]])
    >>> fixed_ngram(mask, n=2).index.tolist(), fixed_ngram(mask, n=2).count.tolist()
    ([[0, 0, 1], [0, -1, -1]], [2, 1])
    """
    if n is not None and n < 1:
        raise ValueError(f"n: expected at least 1, or None for the whole response, got {n}")
    if n is None or n > response_mask.shape[1]:
        n = max(response_mask.shape[1], 1)
    rank = _rank(response_mask)
    index = rank if n == 1 else torch.div(rank, n, rounding_mode="floor")
    return _macro_actions(index, response_mask)


def ngrams(response_mask: Bool[Tensor, "batch response"], *, lengths: Int[Tensor, "batch draws"]) -> MacroActions:
    """End macro actions after given numbers of tokens; what is left over is one last macro action.

    Args:
        response_mask: True on response tokens up to and including EOS.
        lengths: Tokens of the first, second, ... macro action of each row; a length of 0 is
            skipped. The paper draws them at random, see ``draw_lengths``.

    Returns:
        The macro actions of each row.

    >>> mask = torch.ones(1, 6, dtype=torch.bool)
    >>> ngrams(mask, lengths=torch.tensor([[1, 2]])).index.tolist()
    [[0, 1, 1, 2, 2, 2]]
    """
    ends = lengths.cumsum(dim=1)
    interval = torch.searchsorted(ends, _rank(response_mask), right=True)
    return from_starts(response_mask, starts=_differs_from_previous(interval))


def draw_lengths(
    lengths: Sequence[int], *, repeat_times: int, seeds: Int[Tensor, " batch"], num_shuffles: int = 1
) -> Int[Tensor, "batch draws"]:
    """Shuffle a multiset of lengths for each row: randomized n-grams, once given to ``ngrams``.

    Args:
        lengths: The paper has (2, 3, 5, 10), the released code (1, 2, 3, 5, 10).
        repeat_times: How often each length is in the multiset.
        seeds: One number per row. Equal seeds give equal orders, whatever the batch, device or rank.
        num_shuffles: How often the full multiset is reshuffled; the first shuffles are the same however many follow.

    Returns:
        ``len(lengths) * repeat_times * num_shuffles`` lengths per row.

    Raises:
        ValueError: If there is no length, one is below 1, or ``repeat_times`` is.

    >>> drawn = draw_lengths((2, 5), repeat_times=2, seeds=torch.tensor([3, 4]))
    >>> drawn.sort(dim=1).values.tolist()
    [[2, 2, 5, 5], [2, 2, 5, 5]]
    """
    if not lengths or min(lengths) < 1:
        raise ValueError(f"lengths: expected one or more lengths of at least 1, got {list(lengths)}")
    if repeat_times < 1:
        raise ValueError(f"repeat_times: expected at least 1, got {repeat_times}")
    multiset = torch.tensor(list(lengths) * repeat_times, device=seeds.device)
    row_seeds = seeds.view(-1, 1, 1).expand(-1, num_shuffles, multiset.numel())
    counters = torch.arange(num_shuffles * multiset.numel(), device=seeds.device).view(num_shuffles, -1)
    shuffled = random.bits(row_seeds, counters.expand_as(row_seeds)).argsort(dim=2, stable=True)
    return multiset[shuffled].flatten(start_dim=1)


def perplexity(
    response_mask: Bool[Tensor, "batch response"], *, logprobs: Float[Tensor, "batch response"], boundary: Boundary
) -> MacroActions:
    """Start a macro action where the perplexity rises, so that it falls inside each.

    Args:
        response_mask: True on response tokens up to and including EOS.
        logprobs: The reference model's log-probabilities of the tokens, at temperature 1.
        boundary: "rise" starts at the token whose perplexity is above that of the token before it
            (paper); "released" starts one token earlier, at the token before the rise (released
            code, ``ppo_trainer.py``, ``ppl_selection``).

    Returns:
        The macro actions of each row.

    Raises:
        ValueError: If ``boundary`` is unknown.

    >>> mask = torch.ones(1, 4, dtype=torch.bool)
    >>> logprobs = torch.tensor([[-2.0, -1.0, -3.0, -0.5]])  # perplexity rises at token 2 alone
    >>> perplexity(mask, logprobs=logprobs, boundary="rise").index.tolist()
    [[0, 0, 1, 1]]
    >>> perplexity(mask, logprobs=logprobs, boundary="released").index.tolist()
    [[0, 1, 1, 1]]
    """
    if boundary not in ("rise", "released"):
        raise ValueError(f'boundary: expected "rise" or "released", got {boundary!r}')
    both_real = response_mask[:, 1:] & response_mask[:, :-1]
    rises = (logprobs[:, 1:] < logprobs[:, :-1]) & both_real
    starts = torch.zeros_like(response_mask)
    (starts[:, 1:] if boundary == "rise" else starts[:, :-1]).copy_(rises)
    return from_starts(response_mask, starts=starts)


def from_starts(
    response_mask: Bool[Tensor, "batch response"], *, starts: Bool[Tensor, "batch response"]
) -> MacroActions:
    """Start a macro action at each marked token, for instance where a parser's spans begin.

    Args:
        response_mask: True on response tokens up to and including EOS.
        starts: True where a macro action starts. The first token of a row always starts one, and
            marks on padding count for nothing.

    Returns:
        The macro actions of each row.

    >>> mask = torch.tensor([[True, True, True, False]])
    >>> from_starts(mask, starts=torch.tensor([[False, False, True, True]])).index.tolist()
    [[0, 0, 1, -1]]
    """
    first = _rank(response_mask) == 0
    return _macro_actions((starts | first).logical_and(response_mask).cumsum(dim=1) - 1, response_mask)


def isolate_last_token(response_mask: Bool[Tensor, "batch response"], macro_actions: MacroActions) -> MacroActions:
    """Make the last response token of each row its own macro action, as the released code does.

    There it keeps the mean over a macro action from diluting the score. Where the last token
    already is alone nothing changes; the released code makes an empty macro action in that place
    (when (m - 1) % n == 0 for m tokens), which is a defect and not reproduced.

    Args:
        response_mask: True on response tokens up to and including EOS.
        macro_actions: Any macro actions of the same rows.

    Returns:
        The macro actions of each row, at most one more than before.

    >>> mask = torch.ones(1, 4, dtype=torch.bool)
    >>> isolate_last_token(mask, fixed_ngram(mask, n=4)).index.tolist()
    [[0, 0, 0, 1]]
    >>> isolate_last_token(mask, fixed_ngram(mask, n=3)).index.tolist()
    [[0, 0, 0, 1]]
    """
    starts = _differs_from_previous(macro_actions.index) | last_token(response_mask)
    isolated = from_starts(response_mask, starts=starts)
    return replace(isolated, fell_back=macro_actions.fell_back)


def _macro_actions(index: Int[Tensor, "batch response"], response_mask: Bool[Tensor, "batch response"]) -> MacroActions:
    """Finish: -1 on padding, and the counts, which are known from the largest index of each row."""
    index = index.masked_fill(~response_mask, -1)
    if index.numel() == 0:
        return MacroActions(index, index.new_zeros(index.shape[0]), 0)
    count = index.amax(dim=1) + 1
    return MacroActions(index, count, int(count.max()))


def _rank(response_mask: Bool[Tensor, "batch response"]) -> Int[Tensor, "batch response"]:
    """Number the real tokens of each row from 0; -1 before them, the last number after them."""
    return response_mask.cumsum(dim=1) - 1


def _differs_from_previous(x: Int[Tensor, "batch response"]) -> Bool[Tensor, "batch response"]:
    """Mark elements that differ from their left neighbour; the first column has none and is not marked."""
    differs = torch.zeros_like(x, dtype=torch.bool)
    differs[:, 1:] = x[:, 1:] != x[:, :-1]
    return differs
