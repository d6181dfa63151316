"""Rows of random words, all of one length: what costs as much as real text, and needs no download."""

import random
from functools import cached_property

from torch.utils.data import Dataset
from transformers import PreTrainedTokenizerBase

from lightning_marlhf.data.base import RLHFDataModule, Split, Stage
from lightning_marlhf.data.collate import Collator
from lightning_marlhf.data.examples import Demonstration, Example, Preference, PromptExample
from lightning_marlhf.data.tokenizers import word_tokenizer
from lightning_marlhf.types import SupervisedBatch

SPECIAL_TOKENS = 4  # of the tokenizer


class RandomRows(RLHFDataModule):
    """Prompts and responses of random words.

    Args:
        stage: "sft", "reward_model" or "ppo".
        vocabulary: entries of the tokenizer.
        prompt: tokens of a prompt, BOS included.
        response: tokens of a response, EOS included.
        batch_size: rows of a batch.
        seed: of the order.
    """

    def __init__(
        self, *, stage: Stage, vocabulary: int, prompt: int, response: int, batch_size: int, seed: int = 1
    ) -> None:
        super().__init__(stage=stage, batch_size=batch_size, eval_batch_size=batch_size, seed=seed)
        self.vocabulary = vocabulary
        self.prompt = prompt
        self.response = response

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """One token per word."""
        return word_tokenizer(f"w{i}" for i in range(self.vocabulary - SPECIAL_TOKENS))

    @property
    def longest(self) -> int:
        """Tokens of every row."""
        return self.prompt + (0 if self.stage == "ppo" else self.response)

    def examples(self, split: Split) -> Dataset[Example]:
        """Return the rows; as many as anybody asks for."""
        return _Rows(self)

    def demonstrations(self, rows: int) -> SupervisedBatch:
        """Return some rows."""
        texts = [self.words(row, self.prompt - 1) for row in range(rows)]
        examples = [Demonstration(str(row), text, text) for row, text in enumerate(texts)]
        return Collator(self.tokenizer).demonstrations(examples)

    def words(self, seed: int, count: int) -> str:
        """Draw words."""
        draw = random.Random(seed)
        return " ".join(f"w{draw.randrange(self.vocabulary - SPECIAL_TOKENS)}" for _ in range(count))


class _Rows(Dataset[Example]):
    """Row ``i`` is a function of ``i`` alone."""

    def __init__(self, data: RandomRows) -> None:
        self.data = data

    def __len__(self) -> int:
        return 100_000

    def __getitem__(self, index: int) -> Example:
        data, name = self.data, str(index)
        prompt = data.words(3 * index, data.prompt - 1)
        if data.stage == "ppo":
            return PromptExample(name, prompt)
        first, second = (data.words(3 * index + i, data.response - 1) for i in (1, 2))
        if data.stage == "sft":
            return Demonstration(name, prompt, first)
        return Preference(name, prompt, first, second)
