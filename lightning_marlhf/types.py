"""The batches that travel between stages, as frozen dataclasses with one line of meaning per field.

Axes: ``batch`` rows; ``prompt`` tokens, left-padded; ``response`` tokens, right-padded; ``macro`` actions. Every mask
has one polarity: True marks a real token (to attend to, or to learn from), False marks padding.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Generic, Protocol, TypeVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

Batch = TypeVar("Batch", bound="TensorBatch")
Padded = TypeVar("Padded", bound="RightPadded")
Result = TypeVar("Result")
Result_co = TypeVar("Result_co", covariant=True)
Messages = Sequence[Mapping[str, str]]
"""A dialogue: ``role`` ("system", "user" or "assistant") and ``content`` of each turn."""


class TensorBatch:
    """Base of all batches: moves to a device, splits into micro-batches of rows.

    Tensors and tuples have one entry per row, the first field always; every other field describes the whole batch.
    """

    def __len__(self) -> int:
        """Count the rows."""
        _, first = next(self._items())
        return len(first)

    def to(self: Batch, device: torch.device | str) -> Batch:
        """Move every tensor to ``device``, nested batches included."""
        moved = {name: value.to(device) for name, value in self._items() if hasattr(value, "to")}
        return replace(self, **moved)  # type: ignore[type-var]

    def rows(self: Batch, rows: slice | Sequence[int]) -> Batch:
        """Keep only ``rows``, in their order, of every field that has one entry per row."""
        kept = {
            name: _take(value, rows) for name, value in self._items() if isinstance(value, TensorBatch | Tensor | tuple)
        }
        return replace(self, **kept)  # type: ignore[type-var]

    def micro_batches(self: Batch, size: int) -> Iterator[Batch]:
        """Cut the rows, in their order, into batches of at most ``size``."""
        return (self.rows(slice(at, at + size)) for at in range(0, len(self), size))

    def _items(self) -> Iterator[tuple[str, Any]]:
        return ((field.name, getattr(self, field.name)) for field in fields(self))  # type: ignore[arg-type]


def _take(value: Any, rows: slice | Sequence[int]) -> Any:
    if isinstance(value, TensorBatch):
        return value.rows(rows)
    if isinstance(value, tuple) and not isinstance(rows, slice):
        return tuple(value[row] for row in rows)
    return value[rows]


@dataclass(frozen=True)
class Prompts(TensorBatch):
    """The prompts of a batch, one left-padded prompt per row."""

    input_ids: Int[Tensor, "batch prompt"]  # left-padded to the longest in the batch
    attention_mask: Bool[Tensor, "batch prompt"]  # True on real tokens
    sample_ids: tuple[str, ...]  # stable row ids: seed the sampling and join records
    texts: tuple[str, ...]  # the prompt before tokenisation
    references: tuple[Any, ...]  # ground truth for a gold score or unit tests; None without one
    messages: tuple[Messages | None, ...] = ()
    # ^ the messages that ``text`` was rendered from, for models with another chat template; None: plain text

    def __post_init__(self) -> None:
        """Give every row an entry for its messages."""
        if not self.messages:
            object.__setattr__(self, "messages", (None,) * len(self.sample_ids))


@dataclass(frozen=True)
class RightPadded(TensorBatch):
    """Rows of prompt and response, right-padded to one width."""

    lengths: tuple[int, ...]  # real tokens per row (in a pair: with the longer response), on the host

    def trimmed(self: Padded) -> Padded:
        """Cut off the columns in which no row has a token."""
        width = max(self.lengths)
        tensors = ((name, x) for name, x in self._items() if isinstance(x, Tensor))
        return replace(self, **{name: x[:, :width] for name, x in tensors if x.ndim == 2})  # type: ignore[arg-type]


@dataclass(frozen=True, kw_only=True)
class SupervisedBatch(RightPadded):
    """Demonstrations for SFT, right-padded: prompt and response joined in one row."""

    input_ids: Int[Tensor, "batch sequence"]
    attention_mask: Bool[Tensor, "batch sequence"]  # True on prompt, response and EOS
    response_mask: Bool[Tensor, "batch sequence"]  # True on response tokens up to and including EOS


@dataclass(frozen=True, kw_only=True)
class PreferencePairs(RightPadded):
    """Two responses to one prompt, of which the first was preferred; right-padded to one length."""

    chosen_ids: Int[Tensor, "batch sequence"]
    chosen_mask: Bool[Tensor, "batch sequence"]  # True on prompt, response and EOS
    rejected_ids: Int[Tensor, "batch sequence"]
    rejected_mask: Bool[Tensor, "batch sequence"]
    agreement: Float[Tensor, " batch"]
    # ^ probability that a perfect judge agrees with the label; NaN: unknown


@dataclass(frozen=True)
class Rollout(TensorBatch):
    """The responses of the policy to a batch of prompts."""

    prompts: Prompts
    response_ids: Int[Tensor, "batch response"]  # right-padded with the pad token
    response_mask: Bool[Tensor, "batch response"]  # True on response tokens, their end included
    texts: tuple[str, ...]  # the responses without special tokens; prompt + text is the full sequence
    ended: Bool[Tensor, " batch"]  # True where generation stopped before max_new_tokens
    # ^ an end is EOS, any other stop token of the model, or the last token of a stop string
    perplexity_logprobs: Float[Tensor, "batch response"] | None = None
    # ^ of the reference at temperature 1; filled in only if `Termination.needs_logprobs`

    @property
    def input_ids(self) -> Int[Tensor, "batch sequence"]:
        """Prompt and response joined: left padding, prompt, response, right padding."""
        return torch.cat([self.prompts.input_ids, self.response_ids], dim=1)

    @property
    def attention_mask(self) -> Bool[Tensor, "batch sequence"]:
        """True on the real tokens of prompt and response."""
        return torch.cat([self.prompts.attention_mask, self.response_mask], dim=1)


@dataclass(frozen=True)
class MacroActions(TensorBatch):
    """A partition of every row's response tokens into runs of consecutive tokens."""

    index: Int[Tensor, "batch response"]  # the token's macro action, from 0, rising; -1 on padding
    count: Int[Tensor, " batch"]  # how many macro actions the row has
    width: int  # the largest count, known on the host: later steps need no synchronisation
    fell_back: Bool[Tensor, " batch"] | None = None
    # ^ True where the condition failed and the fallback was used; None without a fallback

    @property
    def mask(self) -> Bool[Tensor, "batch macro"]:
        """True where the row has that macro action."""
        return torch.arange(self.width, device=self.count.device) < self.count.unsqueeze(1)


@dataclass(frozen=True)
class TokenLogprobs(TensorBatch):
    """What a policy's forward pass gives for response tokens."""

    logprobs: Float[Tensor, "batch response"]  # of the given tokens, under the given temperature
    entropy: Float[Tensor, "batch response"]  # of the full next-token distribution, in nats


@dataclass(frozen=True)
class Experience(TensorBatch):
    """One rollout with everything PPO trains on; constant during the updates."""

    rollout: Rollout
    old_logprobs: Float[Tensor, "batch response"]  # the policy that sampled
    ref_logprobs: Float[Tensor, "batch response"]  # the frozen reference
    old_values: Float[Tensor, "batch response"]  # the critic, of the state before each token
    scores: Float[Tensor, " batch"]  # the scorer's, after penalties, normalisation and clamping
    raw_scores: Float[Tensor, " batch"]  # the scorer's raw output, for logging
    valid: Bool[Tensor, " batch"]  # False without a score: left out of every loss and metric
    details: tuple[Mapping[str, float], ...]  # each row's numbers by scorer: "rm", "gold", ...
    kl: Float[Tensor, "batch response"]  # log pi - log pi_ref of each sampled token (k1)
    token_rewards: Float[Tensor, "batch response"]  # -beta * KL, plus the score on the last token
    macro_actions: MacroActions
    macro_rewards: Float[Tensor, "batch macro"]
    macro_values: Float[Tensor, "batch macro"]
    macro_returns: Float[Tensor, "batch macro"]  # advantages before whitening are returns - values
    macro_advantages: Float[Tensor, "batch macro"]  # whitened if `Credit.whiten_advantages`
    advantages: Float[Tensor, "batch response"]  # the same, spread to tokens
    returns: Float[Tensor, "batch response"]  # likewise
    clamped: Bool[Tensor, " batch"] | None = None
    # ^ True where the clamp changed the score; None where scores are not clamped

    @property
    def token_mask(self) -> Bool[Tensor, "batch response"]:
        """True on the response tokens that enter the losses: those of valid rows."""
        return self.rollout.response_mask & self.valid.unsqueeze(1)

    @property
    def macro_mask(self) -> Bool[Tensor, "batch macro"]:
        """True on the macro actions that enter the losses: those of valid rows."""
        return self.macro_actions.mask & self.valid.unsqueeze(1)


class Pending(Protocol[Result_co]):
    """A result that may still be computed, so that slow scorers and parsers run concurrently with the forward passes.

    The futures of ``concurrent.futures`` satisfy this protocol, too.
    """

    def result(self) -> Result_co:
        """Wait for the result."""
        ...


@dataclass(frozen=True)
class Ready(Generic[Result]):
    """A result that is already there."""

    value: Result

    def result(self) -> Result:
        """Return it."""
        return self.value
