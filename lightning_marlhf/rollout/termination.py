"""Where macro actions end: one class, one termination condition.

A condition sees the whole rollout (token ids, texts, and, if it asks for them, the reference model's log-probabilities)
and returns a partition of every row's response tokens. To add one: subclass `Termination`, implement
`__call__`, and name the class in the YAML.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Literal

import torch
from jaxtyping import Bool, Int
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from lightning_marlhf.hub.tokenizer import decode_responses
from lightning_marlhf.ops import segmentation
from lightning_marlhf.ops.masking import unpadded
from lightning_marlhf.ranges import NonNegativeInt, PositiveInt, Range, checked
from lightning_marlhf.rollout.parser_pool import ParserPool
from lightning_marlhf.rollout.parsing import Parser
from lightning_marlhf.types import MacroActions, Pending, Ready, Rollout


class Termination(ABC):
    """Cuts responses into macro actions."""

    needs_logprobs: bool = False
    """True if ``rollout.perplexity_logprobs`` (reference model, temperature 1) must be filled in."""

    def prepare(self, *, tokenizer: PreTrainedTokenizerBase) -> None:  # noqa: B027
        """Load what is needed, once, before the first rollout; most conditions need nothing.

        Args:
            tokenizer: the policy's.
        """

    @abstractmethod
    def __call__(self, rollout: Rollout, *, seeds: Int[Tensor, " batch"]) -> MacroActions:
        """Cut every row of ``rollout``.

        Args:
            rollout: the responses.
            seeds: one number per row for random conditions; the same row and seed give the same cuts in any batch.

        Returns:
            The macro actions: every response token belongs to exactly one, and padding to none.
        """

    def submit(self, rollout: Rollout, *, seeds: Int[Tensor, " batch"]) -> Pending[MacroActions]:
        """Start to cut every row; slow CPU conditions run concurrently with the forward passes."""
        return Ready(self(rollout, seeds=seeds))

    def __repr__(self) -> str:
        """Name the condition and its settings."""
        settings = ", ".join(f"{name}={value}" for name, value in vars(self).items() if name[0] != "_")
        return f"{type(self).__name__}({settings})"


@checked
class FixedNGram(Termination):
    """Every ``n`` tokens (PAPER: n = 5, on APPS 10).

    Args:
        n: Tokens per macro action; 1 is token-level PPO, null one macro action for the whole response.
    """

    def __init__(self, n: PositiveInt | None = 5) -> None:
        self.n = n

    def __call__(self, rollout: Rollout, *, seeds: Int[Tensor, " batch"]) -> MacroActions:
        """Cut every ``n`` tokens; the last macro action of a row may be shorter."""
        return segmentation.fixed_ngram(rollout.response_mask, n=self.n)


@checked
class RandomizedNGram(Termination):
    """Random lengths, drawn from a set without replacement and reshuffled.

    Args:
        lengths: Set of lengths: the paper's, or the released code's (1, 2, 3, 5, 10).
        repeat_times: Number of times that each length is in the multiset that the released code shuffles once; what is
            left over of the response (93 % of 300 tokens, with 1) is one last macro action. null shuffles the set again
            and again until the response is covered.
    """

    def __init__(
        self,
        lengths: Sequence[PositiveInt] = (2, 3, 5, 10),
        repeat_times: Annotated[int, Range(at_least=1, at_most=10_000)] | None = None,
    ) -> None:
        if not lengths:
            raise ValueError("lengths: expected at least one, got none")
        self.lengths = tuple(lengths)
        self.repeat_times = repeat_times

    def __call__(self, rollout: Rollout, *, seeds: Int[Tensor, " batch"]) -> MacroActions:
        """Cut at lengths drawn for each row."""
        mask, num_shuffles = rollout.response_mask, 1
        if self.repeat_times is None:
            num_shuffles = max(1, -(-mask.shape[1] // sum(self.lengths)))
        drawn = segmentation.draw_lengths(
            self.lengths, repeat_times=self.repeat_times or 1, num_shuffles=num_shuffles, seeds=seeds
        )
        return segmentation.ngrams(mask, lengths=drawn)


class Perplexity(Termination):
    """Cut where the perplexity of the reference model rises, so that it falls inside each macro action.

    Args:
        boundary: Place of the cut: "rise" before the token whose perplexity rose (paper); "released" one token earlier,
            as the released code does.
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


@checked
class Parsing(Termination):
    """Phrases: the largest of a constituency tree that have fewer tokens than ``cutoff`` (paper: C = 5).

    `parsing.py` has the rule. A response that cannot be parsed is cut every ``fallback_n`` tokens, as a whole, so that
    each row is cut by one rule; `macro/parse_failures` is the fraction of such rows.

    Args:
        parser: Gives the constituency trees.
        cutoff: C, in policy tokens.
        fallback_n: Tokens per macro action of a response that cannot be parsed.
        num_processes: Number of processes that parse while the models run; 0 parses in the training process, after
            them.
    """

    def __init__(
        self, parser: Parser, cutoff: PositiveInt = 5, fallback_n: PositiveInt = 5, num_processes: NonNegativeInt = 1
    ) -> None:
        self.parser = parser
        self.cutoff = cutoff
        self.fallback_n = fallback_n
        self.num_processes = num_processes
        self._pool = ParserPool(parser, cutoff=cutoff, num_processes=num_processes)

    def prepare(self, *, tokenizer: PreTrainedTokenizerBase) -> None:
        """Start the processes; fails here if the parser's package or models are absent."""
        self._tokenizer = tokenizer
        self._pool.start()

    def __call__(self, rollout: Rollout, *, seeds: Int[Tensor, " batch"]) -> MacroActions:
        """Cut where phrases start."""
        return self.submit(rollout, seeds=seeds).result()

    def submit(self, rollout: Rollout, *, seeds: Int[Tensor, " batch"]) -> Pending[MacroActions]:
        """Send the responses to the parser processes."""
        ends = token_ends(rollout, self._tokenizer)
        self._pool.submit(list(zip(rollout.texts, ends, strict=True)))
        return _Phrases(self._pool, rollout.response_mask, self.fallback_n)


@dataclass(frozen=True)
class _Phrases:
    """Pending macro actions of the parser processes."""

    pool: ParserPool
    response_mask: Bool[Tensor, "batch response"]
    fallback_n: int

    def result(self) -> MacroActions:
        """Wait for the cuts."""
        cuts, mask = self.pool.collect(), self.response_mask
        starts = torch.zeros(mask.shape, dtype=torch.bool)
        fixed = list(range(0, mask.shape[1], self.fallback_n))
        for row, cut in enumerate(cuts):
            starts[row, fixed if cut is None else cut] = True
        actions = segmentation.from_starts(mask, starts=starts.to(mask.device))
        fell_back = torch.tensor([cut is None for cut in cuts], device=mask.device)
        return replace(actions, fell_back=fell_back)


def token_ends(rollout: Rollout, tokenizer: PreTrainedTokenizerBase) -> list[list[int]]:
    """Count the characters of each row's text up to the end of each response token, EOS left out.

    Found from the sampled ids, never by tokenising the text again.

    A token's trailing white space is not counted unless it has nothing else, so that ". " ends with its full stop and a
    token of blanks alone goes with what follows it. The tokens of one character (bytes of an emoji) all end with it.
    """
    rows = unpadded(rollout.response_ids, rollout.response_mask)
    prompts = unpadded(rollout.prompts.input_ids, rollout.prompts.attention_mask)
    distinct = sorted({token for row in rows for token in row})
    alone = decode_responses(tokenizer, [[]] * len(distinct), [[token] for token in distinct])
    pieces = dict(zip(distinct, alone, strict=True))
    ends = []
    for prompt, ids, text, ended in zip(prompts, rows, rollout.texts, rollout.ended.tolist(), strict=True):
        last = pieces[ids[-1]] if ended else ""
        is_text = last != "" and text.endswith(last)  # true of the last token of a stop string, not of EOS
        row = ids[:-1] if ended and not is_text else ids
        ends.append(ends_of_pieces(_split(prompt, row, text, [pieces[token] for token in row], tokenizer)))
    return ends


def ends_of_pieces(pieces: Sequence[str]) -> list[int]:
    """Count the characters up to the end of each piece of a text, trailing white space as above.

    >>> ends_of_pieces(["No. ", "Yes", "  ", "sir"])
    [3, 7, 9, 12]
    """
    ends, start = [], 0
    for piece in pieces:
        ends.append(start + (len(piece.rstrip()) or len(piece)))
        start += len(piece)
    return ends


def _split(
    prompt: list[int], ids: list[int], text: str, pieces: list[str], tokenizer: PreTrainedTokenizerBase
) -> list[str]:
    """Return the part of ``text`` of each token: its decoded text where the concatenation equals ``text``.

    Where it does not (a character of several tokens, a tokenizer that drops or adds blanks), the part is what the
    token adds to the text of those before it, less what a later token replaces (U+FFFD for an incomplete character).
    """
    if "".join(pieces) == text:
        return pieces
    beginnings = [ids[: count + 1] for count in range(len(ids))]
    texts = decode_responses(tokenizer, [prompt] * len(ids), beginnings)
    ends = [len(beginning) for beginning in texts]
    for token in reversed(range(len(ends) - 1)):
        ends[token] = min(ends[token], ends[token + 1])
    return [text[start:end] for start, end in zip([0, *ends], ends, strict=False)]
