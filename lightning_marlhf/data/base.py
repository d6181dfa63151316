"""What every DataModule shares: stages, a tokenizer, a resumable order, batches that count rows over all ranks."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Literal, cast

from lightning.pytorch import LightningDataModule
from torch.utils.data import Dataset
from torchdata.stateful_dataloader import StatefulDataLoader
from torchdata.stateful_dataloader.sampler import StatefulDistributedSampler
from transformers import PreTrainedTokenizerBase

from lightning_marlhf.data.collate import Collator
from lightning_marlhf.data.examples import Example
from lightning_marlhf.types import SupervisedBatch

Stage = Literal["sft", "reward_model", "ppo"]
Split = Literal["train", "validate", "test"]


class RLHFDataModule(LightningDataModule):
    """Batches of one stage of RLHF.

    Args:
        stage: "sft" gives demonstrations, "reward_model" preference pairs, "ppo" prompts.
        batch_size: rows per optimizer step (sft, reward_model) or per rollout (ppo), over all ranks together.
        eval_batch_size: rows per evaluation batch, over all ranks together.
        num_workers: processes that prepare batches; 0 prepares them in the training process.
        seed: of the order of the training rows.
    """

    def __init__(
        self,
        *,
        stage: Stage,
        batch_size: int,
        eval_batch_size: int,
        num_workers: int = 0,
        seed: int = 1,
    ) -> None:
        super().__init__()
        self.stage = stage
        self.batch_size = batch_size
        self.eval_batch_size = eval_batch_size
        self.num_workers = num_workers
        self.seed = seed

    @property
    @abstractmethod
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The tokenizer of every text of this data set."""

    @property
    @abstractmethod
    def longest(self) -> int:
        """Tokens of the longest row that a batch may hold: a prompt (ppo), or prompt, response and EOS."""

    @abstractmethod
    def examples(self, split: Split) -> Dataset[Example]:
        """Return the rows of a split, for this module's stage."""

    @abstractmethod
    def demonstrations(self, rows: int) -> SupervisedBatch:
        """Return some demonstrations, whatever the stage: what reward models are centred on."""

    def describe(self) -> dict[str, str]:
        """Say in a few lines what will be read."""
        train, validate = (len(cast(Any, self.examples(split))) for split in ("train", "validate"))
        return {"data": f"{train:,} rows to train on, {validate:,} held out", "stage": self.stage}

    def train_dataloader(self) -> StatefulDataLoader:
        """Batches in an order that depends on the seed and the epoch alone, and that resumes where it stopped."""
        return self._loader("train", self.batch_size, shuffle=True)

    def val_dataloader(self) -> StatefulDataLoader:
        """Held-out batches, in order."""
        return self._loader("validate", self.eval_batch_size, shuffle=False)

    def test_dataloader(self) -> StatefulDataLoader:
        """Test batches, in order."""
        return self._loader("test", self.eval_batch_size, shuffle=False)

    def predict_dataloader(self) -> StatefulDataLoader:
        """The same rows as the test."""
        return self.test_dataloader()

    def _loader(self, split: Split, batch_size: int, *, shuffle: bool) -> StatefulDataLoader:
        ranks, rank = (
            (self.trainer.world_size, self.trainer.global_rank) if self.trainer else (1, 0)
        )
        if batch_size % ranks:
            raise ValueError(
                f"a batch of {batch_size} rows cannot be shared by {ranks} processes evenly"
            )
        rows = self.examples(split)
        sampler = StatefulDistributedSampler(
            rows, num_replicas=ranks, rank=rank, shuffle=shuffle, seed=self.seed, drop_last=shuffle
        )
        return StatefulDataLoader(
            rows,
            batch_size=batch_size // ranks,
            sampler=sampler,
            collate_fn=self._collate(),
            num_workers=self.num_workers,
            drop_last=shuffle,
        )

    def _collate(self) -> Callable[[Sequence[Any]], Any]:
        collator = Collator(self.tokenizer)
        return {
            "sft": collator.demonstrations,
            "reward_model": collator.preferences,
            "ppo": collator.prompts,
        }[self.stage]
