"""Mixture of several data sets."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.utils.data import ConcatDataset, Dataset, Subset
from transformers import PreTrainedTokenizerBase

from lightning_marlhf.data.base import RLHFDataModule, Split
from lightning_marlhf.data.examples import Example
from lightning_marlhf.data.text_data import TextData
from lightning_marlhf.hub.reward_format import RewardInput
from lightning_marlhf.hub.vocabulary import fingerprint
from lightning_marlhf.ranges import NonNegativeInt, Positive, PositiveInt, checked
from lightning_marlhf.types import SupervisedBatch


@checked
class Mixture(RLHFDataModule):
    """The rows of several data sets, shuffled together.

    Stage, tokenizer and padding are those of the first part, and must be the same in all. Sample ids begin with the
    names of the data sets; the second of one name is NAME-2.

    Args:
        parts: Data sets; the batch sizes, workers and seeds of the mixture replace theirs.
        weights: Sampling fractions of the parts; null takes every row of every part. No row is repeated:
            the part with too few rows for its share gives all of them, the others a fixed random choice.
        batch_size: Rows per optimizer step (sft, reward_model) or per rollout (ppo), over all ranks.
        eval_batch_size: Rows per evaluation batch, over all ranks.
        sort_window: Number of batches whose rows are sorted by length together.
        num_workers: Processes that prepare batches; 0 prepares them in the training process.
        seed: Seed of the choice and the order of the training rows.
    """

    def __init__(
        self,
        *,
        parts: list[TextData],
        weights: list[Positive] | None = None,
        batch_size: PositiveInt = 64,
        eval_batch_size: PositiveInt = 64,
        sort_window: PositiveInt = 1,
        num_workers: NonNegativeInt = 0,
        seed: int = 1,
    ) -> None:
        if not parts or len({part.stage for part in parts}) > 1:
            stages = ", ".join(part.stage for part in parts) or "no parts"
            raise ValueError(f"data.init_args.parts: expected data sets of one stage, got {stages}")
        if weights is not None and len(weights) != len(parts):
            raise ValueError(
                f"data.init_args.weights: expected {len(parts)} numbers above 0, one a part, got {weights}"
            )
        super().__init__(
            stage=parts[0].stage,
            batch_size=batch_size,
            eval_batch_size=eval_batch_size,
            sort_window=sort_window,
            num_workers=num_workers,
            seed=seed,
        )
        for part, name in zip(parts, unique_names([part.name for part in parts]), strict=True):
            part.name = name
        self.parts = parts
        self.weights = weights

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The tokenizer of the first part."""
        return self.parts[0].tokenizer

    @property
    def reward_input(self) -> RewardInput:
        """The input format of a reward model: messages by the chat template if one of the parts has it."""
        parts = [part.reward_input for part in self.parts]
        return RewardInput(parts[0].joined, any(part.chat_template for part in parts))

    @property
    def longest(self) -> int:
        """Tokens of the longest row of any part."""
        return max(part.longest for part in self.parts)

    def prepare_data(self) -> None:
        """Read and tokenise all parts.

        Raises:
            ValueError: the parts have different tokenizers.
        """
        if len({fingerprint(part.tokenizer) for part in self.parts}) > 1:
            names = ", ".join(part.tokenizer_source for part in self.parts)
            raise ValueError(f"data.init_args.parts: expected one tokenizer, got {names}")
        for part in self.parts:
            part.prepare_data()

    def setup(self, stage: str) -> None:
        """Log the counts of dropped and truncated rows."""
        for part in self.parts:
            part.trainer = self.trainer
            part.setup(stage)

    def examples(self, split: Split) -> Dataset[Example]:
        """Return the rows of all parts, one part after the other."""
        return ConcatDataset([Subset(part.examples(split), rows) for part, rows in self._chosen(split)])

    def lengths(self, split: Split) -> Sequence[int]:
        """Count the tokens of each row."""
        counts = ((part.lengths(split), rows) for part, rows in self._chosen(split))
        return [lengths[row] for lengths, rows in counts for row in rows]

    def demonstrations(self, rows: int) -> SupervisedBatch:
        """Return the first demonstrations of the first part."""
        return self.parts[0].demonstrations(rows)

    def _chosen(self, split: Split) -> list[tuple[TextData, Sequence[int]]]:
        """Choose the rows of each part."""
        sizes = [len(part.examples(split)) for part in self.parts]
        if self.weights is None or split != "train":
            return [(part, range(size)) for part, size in zip(self.parts, sizes, strict=True)]
        total = min(size / weight for size, weight in zip(sizes, self.weights, strict=True))
        generator = torch.Generator().manual_seed(self.seed)
        return [
            (part, torch.randperm(size, generator=generator)[: round(total * weight)].tolist())
            for part, size, weight in zip(self.parts, sizes, self.weights, strict=True)
        ]

    def _collate(self) -> Callable[[Sequence[Any]], Any]:
        return self.parts[0]._collate()


def unique_names(names: Sequence[str]) -> list[str]:
    """Number repeated names, whose samples would otherwise share ids, random numbers and records.

    >>> unique_names(["data", "tldr", "data", "data-2"])
    ['data', 'tldr', 'data-2', 'data-2-2']
    """
    found: list[str] = []
    for name in names:
        numbered = (f"{name}-{number}" for number in itertools.count(2))
        found.append(next(each for each in itertools.chain([name], numbered) if each not in found))
    return found
