"""Scores of whole responses: one class per kind of judge that can train a policy.

A scorer is asked with `submit` and answers in `Pending.result`, so that slow judges (programs to
run, servers to ask) work while the models run their passes.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from lightning_marlhf.hub.tokenizer import load_tokenizer
from lightning_marlhf.models import heads
from lightning_marlhf.models.backbone import load_sequence_classifier
from lightning_marlhf.tasks import tiny_tldr
from lightning_marlhf.types import Rollout, TensorBatch


@dataclass(frozen=True)
class Scores(TensorBatch):
    """One number per response."""

    values: Float[Tensor, " batch"]
    valid: Bool[
        Tensor, " batch"
    ]  # False where there is nothing to learn from (a problem without tests)
    details: tuple[Mapping[str, float], ...]  # further numbers of each row, by name


class Pending(Protocol):
    """Scores that may still be on their way."""

    def result(self) -> Scores:
        """Wait for the scores."""
        ...


@dataclass(frozen=True)
class Ready:
    """Scores that are already there."""

    scores: Scores

    def result(self) -> Scores:
        """Return them."""
        return self.scores


class Scorer(ABC):
    """Judges responses.

    Attributes:
        name: under which its numbers are logged and recorded.
    """

    name: str

    def prepare(self, *, tokenizer: PreTrainedTokenizerBase, device: torch.device) -> None:  # noqa: B027
        """Load what is needed, once, before the first rollout; many scorers need nothing.

        Args:
            tokenizer: the policy's.
            device: where the policy is.
        """

    @abstractmethod
    def submit(self, rollout: Rollout) -> Pending:
        """Start to score ``rollout``."""

    def _ready(self, values: Float[Tensor, " batch"]) -> Ready:
        details = tuple({self.name: value} for value in values.tolist())
        return Ready(Scores(values, torch.ones_like(values, dtype=torch.bool), details))


class RewardModelScorer(Scorer):
    """A one-label sequence classifier: ours, or any published reward model.

    Where the reward model's tokenizer differs from the policy's, texts are tokenised again with its own.

    Args:
        model: folder or Hub id.
        name: under which the scores are logged and recorded.
        batch_size: responses per forward pass.
        dtype: of the weights.
    """

    def __init__(
        self, model: str, *, name: str = "rm", batch_size: int = 64, dtype: str = "float32"
    ) -> None:
        self.model = model
        self.name = name
        self.batch_size = batch_size
        self.dtype = dtype

    def prepare(self, *, tokenizer: PreTrainedTokenizerBase, device: torch.device) -> None:
        """Load the reward model and compare its tokenizer with the policy's."""
        self.tokenizer = load_tokenizer(self.model)
        classifier = load_sequence_classifier(self.model, self.tokenizer, dtype=self.dtype)
        self.network = heads.RewardNetwork(classifier).to(device).eval().requires_grad_(False)
        self.same_tokenizer = _speak_alike(self.tokenizer, tokenizer)

    def submit(self, rollout: Rollout) -> Pending:
        """Score every response at its last token."""
        scores = [
            self._score(rollout.rows(slice(start, start + self.batch_size)))
            for start in range(0, len(rollout), self.batch_size)
        ]
        return self._ready(torch.cat(scores).float())

    @torch.no_grad()
    def _score(self, rollout: Rollout) -> Float[Tensor, " batch"]:
        if self.same_tokenizer:
            ids, mask = rollout.input_ids, rollout.attention_mask
        else:
            ids, mask = self._tokenize(rollout)
        device = rollout.response_ids.device
        scores: Tensor = self.network(ids.to(device), mask.to(device))
        return scores

    def _tokenize(self, rollout: Rollout) -> tuple[Tensor, Tensor]:
        """Join prompt, response and, where the policy ended, the reward model's EOS, as text."""
        eos = self.tokenizer.eos_token
        texts = [
            prompt + response + (eos if ended else "")
            for prompt, response, ended in zip(
                rollout.prompts.texts, rollout.texts, rollout.ended.tolist(), strict=True
            )
        ]
        batch = self.tokenizer(texts, padding=True, padding_side="right", return_tensors="pt")
        return batch.input_ids, batch.attention_mask.bool()


class TinyTLDRGold(Scorer):
    """The exact score of tiny TL;DR: facts right, minus half for each wrong, repeated or invented sentence."""

    def __init__(self, name: str = "gold") -> None:
        self.name = name

    def submit(self, rollout: Rollout) -> Pending:
        """Score the texts against the facts of their posts."""
        values = [
            tiny_tldr.gold_score(text, facts)
            for text, facts in zip(rollout.texts, rollout.prompts.references, strict=True)
        ]
        return self._ready(torch.tensor(values, device=rollout.response_ids.device))


def _speak_alike(one: PreTrainedTokenizerBase, other: PreTrainedTokenizerBase) -> bool:
    """Tell whether both tokenizers have the same tokens with the same ids, special ones included."""

    def language(tokenizer: PreTrainedTokenizerBase) -> tuple[object, ...]:
        return tokenizer.get_vocab(), tokenizer.eos_token_id, tokenizer.bos_token_id

    return language(one) == language(other)
