"""Scores of whole responses: one class per source of rewards.

`Scorer.submit` returns at once, and the scores are read from what it returned, so that slow scorers (unit tests,
remote servers) run concurrently with the forward passes.
"""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import compress, starmap

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedTokenizerBase

from lightning_marlhf.hub import chat_template
from lightning_marlhf.hub.reward_format import RewardInput
from lightning_marlhf.hub.tokenizer import Tokens, load_tokenizer
from lightning_marlhf.models.backbone import context_length
from lightning_marlhf.models.network_factory import NetworkFactory
from lightning_marlhf.ops.masking import unpadded
from lightning_marlhf.ranges import PositiveInt, checked
from lightning_marlhf.rollout.reward_model_input import Answered, RewardReader, TokenIds, same_vocabulary
from lightning_marlhf.tasks import tiny_tldr
from lightning_marlhf.types import Messages, Pending, Ready, Rollout, TensorBatch


@dataclass(frozen=True)
class Scores(TensorBatch):
    """One number per response."""

    values: Float[Tensor, " batch"]  # one that is NaN or infinite makes its row invalid
    valid: Bool[Tensor, " batch"]  # False if a response has no score (a problem without tests)
    details: tuple[Mapping[str, float], ...]  # numbers of each row by name; NaN: it has none
    reason: str = ""  # why responses that should have a score have none


class Scorer(ABC):
    """Scores responses.

    Attributes:
        name: under which its scores are logged and recorded.
    """

    name: str

    def prepare(  # noqa: B027
        self, *, tokenizer: PreTrainedTokenizerBase, network_factory: NetworkFactory
    ) -> None:
        """Load what is needed, once, before the first rollout; a no-op by default.

        Args:
            tokenizer: the policy's.
            network_factory: builds the scorer's network on the device of the policy (``network_factory.device``),
                sharded if the policy is.
        """

    @abstractmethod
    def submit(self, rollout: Rollout, *, evaluating: bool) -> Pending[Scores]:
        """Start to score every response.

        Args:
            rollout: prompts and responses.
            evaluating: True for held-out prompts, on which a scorer may be more thorough than in training.

        Returns:
            The pending scores, in the order of the rows. Slow scorers should return at once and work in the background.
        """

    def close(self) -> None:  # noqa: B027
        """Release resources (processes, connections); they are reopened when needed."""

    def ready(self, values: Float[Tensor, " batch"]) -> Ready[Scores]:
        """Return scores that are all valid and known already, recorded under the scorer's name."""
        details = tuple({self.name: value} for value in values.tolist())
        return Ready(Scores(values, torch.ones_like(values, dtype=torch.bool), details))


@checked
class RewardModelScorer(Scorer):
    """A sequence classifier: ours, or any published reward model, decoder or encoder.

    Where the reward model's tokenizer differs from the policy's, texts are tokenised again with its own. Messages that
    the policy's chat template wrote are written anew by the reward model's, if it has another one.

    Args:
        model: Folder or Hub id.
        name: Name under which the scores are logged and recorded.
        batch_size: Responses per forward pass.
        dtype: Dtype of the weights.
        chat_template: Show the reward model its own chat template even if prompts are plain texts: the turns of
            the prompt (HH-RLHF's and WebGPT's are found, any other prompt is one turn of the user) and the response as
            the assistant's, which the template ends whether the policy did or not.
        label: Name or number of the label whose logit is the score, of a classifier with several; null: it has one.
    """

    def __init__(
        self,
        model: str,
        *,
        name: str = "rm",
        batch_size: PositiveInt = 64,
        dtype: str = "float32",
        chat_template: bool = False,
        label: int | str | None = None,
    ) -> None:
        self.model = model
        self.name = name
        self.batch_size = batch_size
        self.dtype = dtype
        self.chat_template = chat_template
        self.label = label

    def prepare(self, *, tokenizer: PreTrainedTokenizerBase, network_factory: NetworkFactory) -> None:
        """Load the reward model and compare its tokenizer with the policy's."""
        self.load(network_factory)
        self.same_tokenizer = same_vocabulary(self.tokenizer, tokenizer)
        self.same_template = self.tokenizer.chat_template == tokenizer.chat_template

    def load(self, network_factory: NetworkFactory) -> None:
        """Load the reward model, which is enough to score texts."""
        self.device = network_factory.device
        self.tokenizer = load_tokenizer(self.model, for_training=False, for_generation=False)
        if self.chat_template:
            chat_template.require_template(self.tokenizer)
        self.network = network_factory.scoring_network(self.model, self.tokenizer, dtype=self.dtype, label=self.label)
        config = self.network.classifier.config
        self.reader = RewardReader(
            self.tokenizer,
            RewardInput.of(config),
            chat_template=self.chat_template,
            always_ends=config.is_encoder_decoder,
        )

    def submit(self, rollout: Rollout, *, evaluating: bool) -> Pending[Scores]:
        """Score every response at its last token."""
        scores = [self._score(part) for part in rollout.micro_batches(self.batch_size)]
        return self.ready(torch.cat(scores).to(rollout.response_ids.device))

    def score_texts(
        self,
        prompts: Sequence[str],
        responses: Sequence[str],
        ended: Sequence[bool],
        messages: Sequence[Messages | None] | None = None,
        ids: Sequence[TokenIds | None] | None = None,
    ) -> Float[Tensor, " batch"]:
        """Score prompts with their responses in one forward pass.

        Args:
            prompts: as the policy saw them, before tokenisation.
            responses: without special tokens.
            ended: False if a response was cut off, so that no EOS follows it.
            messages: what the policy's chat template wrote as the prompt, if it did.
            ids: tokens of prompt and response, if they were kept; those of another tokenizer are ignored.

        Raises:
            ValueError: a row is too long, or the reward model's chat template refuses its messages.
        """
        unknown = (None,) * len(prompts)
        rows = zip(prompts, responses, ended, messages or unknown, ids or unknown, strict=True)
        padded, mask = self._pad(self.reader.read(list(starmap(Answered, rows))))
        longest = padded.shape[1]
        if longest > self._context:
            raise ValueError(
                f"a prompt with its response has {longest} tokens, and {self.model} reads {self._context}: shorten them"
            )
        return self._forward(padded, mask)

    def _score(self, rollout: Rollout) -> Float[Tensor, " batch"]:
        """Score the policy's ids if both tokenizers agree, else re-tokenised texts.

        A dialogue that the reward model's template refuses, or that is longer than its context, gets NaN. Rows of every
        kind go through one forward pass together, as all ranks of a sharded network must make equally many.
        """
        by_ids = [
            self.same_tokenizer and (not self.reader.renders(each) or (each is not None and self.same_template))
            for each in rollout.prompts.messages
        ]
        ids, mask = rollout.input_ids, rollout.attention_mask
        if not all(by_ids):
            ids, mask = self._pad(self._tokens(rollout, by_ids))
        lengths = mask.sum(dim=1)
        unread = (lengths == 0) | (lengths > self._context)
        if unread.any():
            warnings.warn(
                f"{int(unread.sum())} of {len(rollout)} dialogues have no score: the chat template of {self.model} "
                f"refuses them, or they are longer than the {self._context} tokens that it reads",
                stacklevel=2,
            )
            mask = mask & ~unread.unsqueeze(1)
            mask[unread, 0] = True  # any token
            shown = mask.any(dim=0)
            ids, mask = ids[:, shown], mask[:, shown]
        return self._forward(ids, mask).masked_fill(unread.to(self.device), torch.nan)

    def _tokens(self, rollout: Rollout, by_ids: Sequence[bool]) -> list[Tokens]:
        """Reuse the policy's ids if both tokenizers agree, re-tokenise the others; empty for refused dialogues."""
        prompts, ended = rollout.prompts, rollout.ended.tolist()
        kept = zip(
            unpadded(prompts.input_ids, prompts.attention_mask),
            unpadded(rollout.response_ids, rollout.response_mask),
            strict=True,
        )
        rows = list(map(Answered, prompts.texts, rollout.texts, ended, prompts.messages, kept))
        read = [not shared and not self.reader.refuses(row) for shared, row in zip(by_ids, rows, strict=True)]
        anew = iter(self.reader.read(list(compress(rows, read))))
        return [
            ids[mask].tolist() if shared else next(anew) if readable else []
            for ids, mask, shared, readable in zip(rollout.input_ids, rollout.attention_mask, by_ids, read, strict=True)
        ]

    def _pad(self, rows: Sequence[Tokens]) -> tuple[Tensor, Tensor]:
        """Pad rows on the right: ids and mask [batch, longest]; at least one column, which is padding for no tokens."""
        ids = [torch.tensor(tokens or [0]) for tokens in rows]
        lengths = torch.tensor([len(tokens) for tokens in rows])
        padded = pad_sequence(ids, batch_first=True, padding_value=self.tokenizer.pad_token_id or 0)
        return padded, torch.arange(padded.shape[1]) < lengths.unsqueeze(1)

    @property
    def _context(self) -> float:
        """The reward model's context length in tokens."""
        return context_length(self.network.classifier)

    @torch.no_grad()
    def _forward(self, ids: Tensor, mask: Tensor) -> Float[Tensor, " batch"]:
        scores: Tensor = self.network(ids.to(self.device), mask.to(self.device))
        return scores.float()


class TinyTLDRGold(Scorer):
    """The exact score of tiny TL;DR: number of correct facts, minus 0.5 per wrong, repeated or invented sentence."""

    def __init__(self, name: str = "gold") -> None:
        self.name = name

    def submit(self, rollout: Rollout, *, evaluating: bool) -> Pending[Scores]:
        """Score the texts against the facts of their posts."""
        values = [
            tiny_tldr.gold_score(text, facts)
            for text, facts in zip(rollout.texts, rollout.prompts.references, strict=True)
        ]
        return self.ready(torch.tensor(values, device=rollout.response_ids.device))
