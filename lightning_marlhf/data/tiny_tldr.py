"""Tiny TL;DR as a DataModule: rows are generated on the fly, without a download."""

from functools import cached_property
from random import Random
from typing import Literal

from torch.utils.data import Dataset
from transformers import PreTrainedTokenizerBase

from lightning_marlhf.data.base import RLHFDataModule, Split, Stage
from lightning_marlhf.data.collate import Collator
from lightning_marlhf.data.examples import Demonstration, Example, Preference, PromptExample
from lightning_marlhf.data.tokenizers import character_tokenizer, word_tokenizer
from lightning_marlhf.ranges import NonNegative, NonNegativeInt, PositiveInt, checked
from lightning_marlhf.tasks import tiny_tldr
from lightning_marlhf.types import SupervisedBatch


class TinyTLDRExamples(Dataset[Example]):
    """Row ``i`` of a named stream of posts: a function of the name and ``i`` alone.

    Args:
        stage: Kind of the rows.
        stream: Name of the stream; different names give independent posts.
        size: Number of rows.
        skip: Rows of the stream that are left out before the first.
        preference_temperature: Temperature of the Bradley-Terry noise in preference pairs, in points of gold score.
    """

    def __init__(self, *, stage: Stage, stream: str, size: int, preference_temperature: float, skip: int = 0) -> None:
        self.stage = stage
        self.stream = stream
        self.size = size
        self.skip = skip
        self.preference_temperature = preference_temperature

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> Example:
        sample_id = f"{self.stream}/{self.skip + index}"
        random = Random(sample_id)  # noqa: S311
        post = tiny_tldr.make_post(random)
        if self.stage == "sft":
            summary = tiny_tldr.summarise(post.facts, noise=tiny_tldr.DEMONSTRATION, random=random)
            return Demonstration(sample_id, post.prompt, summary)
        if self.stage == "reward_model":
            return self._preference(sample_id, post, random)
        return PromptExample(sample_id, post.prompt, dict(post.facts))

    def _preference(self, sample_id: str, post: tiny_tldr.Post, random: Random) -> Preference:
        first, second = (
            tiny_tldr.summarise(post.facts, noise=tiny_tldr.draw_noise(random), random=random) for _ in range(2)
        )
        probability = tiny_tldr.preference_probability(
            tiny_tldr.gold_score(first, post.facts),
            tiny_tldr.gold_score(second, post.facts),
            temperature=self.preference_temperature,
        )
        agreement = max(probability, 1 - probability)
        if random.random() < probability:
            return Preference(sample_id, post.prompt, first, second, agreement)
        return Preference(sample_id, post.prompt, second, first, agreement)


@checked
class TinyTLDR(RLHFDataModule):
    """Short generated posts with five facts, character tokens, and an exact gold score.

    Args:
        stage: "sft" gives demonstrations, "reward_model" preference pairs, "ppo" prompts.
        batch_size: Rows per optimizer step (sft, reward_model) or per rollout (ppo), over all ranks.
        eval_batch_size: Rows per evaluation batch, over all ranks.
        train_rows: Number of training rows, generated on the fly.
        skip_rows: First training rows to skip: other runs read them; for an independent reward model that judges
            on its own.
        validate_rows: Number of posts for validation.
        test_rows: Number of posts for the final evaluation.
        tokens: Unit of a token: "characters", or "words" (short rows, for a separate reward model).
        preference_temperature: Noise of the preference labels, in points of gold score; lower is cleaner.
        num_workers: Processes that prepare batches; 0 prepares them in the training process.
        seed: Seed of the order of the training rows; the rows themselves never change.
    """

    def __init__(
        self,
        *,
        stage: Stage,
        batch_size: PositiveInt = 64,
        eval_batch_size: PositiveInt = 256,
        train_rows: PositiveInt = 200_000,
        skip_rows: NonNegativeInt = 0,
        validate_rows: PositiveInt = 256,
        test_rows: PositiveInt = 512,
        tokens: Literal["characters", "words"] = "characters",
        preference_temperature: NonNegative = 0.3,
        num_workers: NonNegativeInt = 0,
        seed: int = 1,
    ) -> None:
        super().__init__(
            stage=stage, batch_size=batch_size, eval_batch_size=eval_batch_size, num_workers=num_workers, seed=seed
        )
        self.sizes = {"train": train_rows, "validate": validate_rows, "test": test_rows}
        self.skip_rows = skip_rows
        self.tokens = tokens
        self.preference_temperature = preference_temperature

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """One token per character, or per word and punctuation mark."""
        if self.tokens == "words":
            return word_tokenizer(tiny_tldr.words())
        return character_tokenizer(tiny_tldr.ALPHABET)

    @property
    def longest(self) -> int:
        """Tokens of the longest row: BOS and prompt, and in the other stages response and EOS."""
        prompt = 1 + tiny_tldr.longest_prompt()
        return prompt if self.stage in ("ppo", "evaluation") else prompt + tiny_tldr.longest_summary() + 1

    def examples(self, split: Split) -> TinyTLDRExamples:
        """Return the rows of a split; the stages' training posts are disjoint, their held-out posts are the same."""
        if split == "train":
            name, skip = f"tiny-tldr/{self.stage}", self.skip_rows
        else:
            name, skip = f"tiny-tldr/{split}", 0
        return self._stream(name, stage=self.stage, size=self.sizes[split], skip=skip)

    def demonstrations(self, rows: int) -> SupervisedBatch:
        """Return the first demonstrations of SFT."""
        stream = self._stream("tiny-tldr/sft", stage="sft", size=rows)
        return Collator(self.tokenizer).demonstrations([stream[row] for row in range(rows)])

    def _stream(self, name: str, *, stage: Stage, size: int, skip: int = 0) -> TinyTLDRExamples:
        return TinyTLDRExamples(
            stage=stage, stream=name, size=size, skip=skip, preference_temperature=self.preference_temperature
        )
