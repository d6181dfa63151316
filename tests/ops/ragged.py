"""Random ragged batches for property tests, and the same rows behind other padding."""

import torch
from hypothesis import strategies as st
from torch import Tensor

from lightning_marlhf.ops import segmentation
from lightning_marlhf.types import MacroActions

CONDITIONS = ("n=1", "n=3", "whole", "ngrams", "rise", "released", "starts", "n=3 + last", "released + last")

row_lengths = st.lists(st.integers(0, 17), min_size=1, max_size=5)


def right_padded(lengths: list[int], *, padding: int = 0) -> Tensor:
    width = max(lengths) + padding
    return torch.arange(width) < torch.tensor(lengths)[:, None]


def noise(*shape: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def segment(condition: str, mask: Tensor, tokens: Tensor, lengths: Tensor | None = None) -> MacroActions:
    """Cut rows by a condition; `tokens` stands for log-probabilities and for a parser's marks."""
    name, _, last = condition.partition(" + ")
    if name == "ngrams":
        lengths = torch.tensor([[2, 3, 1]]).expand(len(mask), -1) if lengths is None else lengths
        macro_actions = segmentation.ngrams(mask, lengths=lengths.contiguous())
    elif name in ("rise", "released"):
        macro_actions = segmentation.perplexity(mask, logprobs=tokens, boundary=name)
    elif name == "starts":
        macro_actions = segmentation.from_starts(mask, starts=tokens > 0.5)
    else:
        n = None if name == "whole" else int(name.removeprefix("n="))
        macro_actions = segmentation.fixed_ngram(mask, n=n)
    return segmentation.isolate_last_token(mask, macro_actions) if last else macro_actions


def moved(rows: Tensor, mask: Tensor, *, left: int, right: int, fill: float) -> Tensor:
    """Put `left` and `right` more columns around the rows, and `fill` on all padding."""
    filled = rows.masked_fill(~mask, fill)
    return torch.nn.functional.pad(filled, (left, right), value=fill)
