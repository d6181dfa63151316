"""Where macro actions end: one class, one termination condition.

A condition sees the whole rollout (token ids, texts, and, if it asks for them, the reference
model's log-probabilities) and returns a partition of every row's response tokens. To write one's
own: subclass `Termination`, name it in the YAML.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Literal

from jaxtyping import Int
from torch import Tensor

from lightning_marlhf.ops import segmentation
from lightning_marlhf.types import MacroActions, Rollout


class Termination(ABC):
    """Cuts responses into macro actions."""

    needs_logprobs: bool = False
    """True where ``rollout.perplexity_logprobs`` (reference model, temperature 1) must be filled in."""

    @abstractmethod
    def __call__(self, rollout: Rollout, *, seeds: Int[Tensor, " batch"]) -> MacroActions:
        """Cut every row of ``rollout``.

        Args:
            rollout: the responses.
            seeds: one number per row for random conditions; the same row and seed give the same cuts in any batch.
        """

    def __repr__(self) -> str:
        """Name the condition and its settings."""
        settings = ", ".join(f"{name}={value}" for name, value in vars(self).items())
        return f"{type(self).__name__}({settings})"


class FixedNGram(Termination):
    """Every ``n`` tokens (PAPER: n = 5, on APPS 10).

    Args:
        n: tokens per macro action; 1 is token-level PPO, null one macro action for the whole response.
    """

    def __init__(self, n: int | None = 5) -> None:
        if n is not None and n < 1:
            raise ValueError(f"n must be at least 1 (or null for the whole response), got {n}")
        self.n = n

    def __call__(self, rollout: Rollout, *, seeds: Int[Tensor, " batch"]) -> MacroActions:
        """Cut every ``n`` tokens; the last macro action of a row may be shorter."""
        return segmentation.fixed_ngram(rollout.response_mask, n=self.n)


class RandomizedNGram(Termination):
    """Lengths drawn from a shuffled multiset; what is left over is one last macro action.

    Args:
        lengths: the multiset's distinct lengths; the paper's, or the released code's (1, 2, 3, 5, 10).
        repeat_times: how often each length is in the multiset.
    """

    def __init__(self, lengths: Sequence[int] = (2, 3, 5, 10), repeat_times: int = 1) -> None:
        if not lengths or min(lengths) < 1:
            raise ValueError(f"lengths must be positive, got {list(lengths)}")
        self.lengths = tuple(lengths)
        self.repeat_times = repeat_times

    def __call__(self, rollout: Rollout, *, seeds: Int[Tensor, " batch"]) -> MacroActions:
        """Cut at lengths drawn for each row."""
        drawn = segmentation.draw_lengths(self.lengths, repeat_times=self.repeat_times, seeds=seeds)
        return segmentation.ngrams(rollout.response_mask, lengths=drawn)


class Perplexity(Termination):
    """Cut where the perplexity of the reference model rises, so that it falls inside each macro action.

    Args:
        boundary: "rise" cuts before the token whose perplexity rose (paper); "released" one token
            earlier, as the released code does.
    """

    needs_logprobs = True

    def __init__(self, boundary: Literal["rise", "released"] = "rise") -> None:
        self.boundary: Literal["rise", "released"] = boundary

    def __call__(self, rollout: Rollout, *, seeds: Int[Tensor, " batch"]) -> MacroActions:
        """Cut at rises of perplexity."""
        if rollout.perplexity_logprobs is None:
            raise ValueError("perplexity termination needs the reference model's log-probabilities")
        return segmentation.perplexity(
            rollout.response_mask, logprobs=rollout.perplexity_logprobs, boundary=self.boundary
        )
