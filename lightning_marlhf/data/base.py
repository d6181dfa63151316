"""The base of all DataModules: stages, a tokenizer, a resumable order, and batch sizes over all ranks."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Literal, cast

from lightning.pytorch import LightningDataModule
from torch.utils.data import Dataset, Sampler
from torchdata.stateful_dataloader import StatefulDataLoader
from transformers import PreTrainedTokenizerBase

from lightning_marlhf.data.collate import Collator, Padder
from lightning_marlhf.data.examples import Example
from lightning_marlhf.data.samplers import HeldOutSampler, TrainingSampler
from lightning_marlhf.hub.reward_format import RewardInput
from lightning_marlhf.ranges import NonNegativeInt, PositiveInt, checked
from lightning_marlhf.types import SupervisedBatch

Stage = Literal["sft", "reward_model", "ppo", "evaluation"]
Split = Literal["train", "validate", "test"]


@checked
class RLHFDataModule(LightningDataModule):
    """Batches of one stage of RLHF.

    Args:
        stage: "sft" gives demonstrations, "reward_model" preference pairs, "ppo" prompts, "evaluation" prompts that
            are never used for training.
        batch_size: Rows per optimizer step (sft, reward_model) or per rollout (ppo), over all ranks.
        eval_batch_size: Rows per evaluation batch, over all ranks.
        sort_window: Number of batches whose rows are sorted by length together. 1 leaves every batch as it is; more
            saves padding if a batch is one micro-batch.
        num_workers: Processes that prepare batches; 0 prepares them in the training process.
        seed: Seed of the order of the training rows.
    """

    def __init__(
        self,
        *,
        stage: Stage,
        batch_size: PositiveInt = 64,
        eval_batch_size: PositiveInt = 64,
        sort_window: PositiveInt = 1,
        num_workers: NonNegativeInt = 0,
        seed: int = 1,
    ) -> None:
        super().__init__()
        self.stage = stage
        self.batch_size = batch_size
        self.eval_batch_size = eval_batch_size
        self.sort_window = sort_window
        self.num_workers = num_workers
        self.seed = seed

    @property
    @abstractmethod
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The tokenizer of every text of this data set."""

    @property
    def reward_input(self) -> RewardInput:
        """The input format of a reward model for these rows: prompt and response apart, as plain text."""
        return RewardInput(joined=False, chat_template=False)

    @property
    @abstractmethod
    def longest(self) -> int:
        """Tokens of the longest row that a batch may hold: a prompt (ppo), or prompt, response and EOS."""

    @abstractmethod
    def examples(self, split: Split) -> Dataset[Example]:
        """Return the rows of a split, for this module's stage."""

    def lengths(self, split: Split) -> Sequence[int] | None:
        """Count the tokens of each row of a split; None if they are unknown."""
        return None

    def planned_train_rows(self) -> int:
        """Count the training rows, without a download if possible."""
        return len(cast(Any, self.examples("train")))

    @abstractmethod
    def demonstrations(self, rows: int) -> SupervisedBatch:
        """Return some demonstrations in any stage, on which reward models are centred."""

    def batch(self, rows: Sequence[Example]) -> Any:
        """Collate rows of `examples` into one batch of this stage."""
        return self._collate()(rows)

    def num_valid_rows(self, split: Split, batch: int) -> int:
        """Count the valid rows of this rank's held-out ``batch`` (from 0); they come first.

        The other rows pad the ranks to equal numbers.
        """
        order = self._held_out_order(self.examples(split))
        return order.num_valid_rows(self.eval_batch_size // order.ranks, batch)

    def describe(self) -> dict[str, str]:
        """Describe the data in a few lines."""
        train, validate = (len(cast(Any, self.examples(split))) for split in ("train", "validate"))
        return {"data": f"{train:,} training rows, {validate:,} held out", "stage": self.stage}

    def train_dataloader(self) -> StatefulDataLoader:
        """Batches in an order that depends on the seed and the epoch alone, and that resumes where it stopped."""
        if self.stage == "evaluation":
            raise ValueError(
                "data.init_args.stage: evaluation has no rows to train on: expected sft, reward_model or ppo"
            )
        rows = self.examples("train")
        ranks, rank = self._ranks()
        order = TrainingSampler(
            len(cast(Any, rows)),
            batch_size=self.batch_size,
            seed=self.seed,
            ranks=ranks,
            rank=rank,
            lengths=self.lengths("train"),
            window=self.sort_window,
        )
        if not order.batches:
            raise ValueError(
                f"{order.size} training rows are less than one batch of {self.batch_size}: lower "
                "data.init_args.batch_size, or give more rows"
            )
        if self.trainer:  # in a resumed run workers draw rows before the trainer sets the epoch
            order.set_epoch(self.trainer.current_epoch)
        return self._loader(rows, order, self.batch_size, drop_last=True)

    def val_dataloader(self) -> StatefulDataLoader | list[Any]:
        """Held-out batches, in order; none if nothing was held out."""
        return self._held_out("validate")

    def test_dataloader(self) -> StatefulDataLoader | list[Any]:
        """Test batches, in order; none if nothing was held out."""
        return self._held_out("test")

    def predict_dataloader(self) -> StatefulDataLoader | list[Any]:
        """The same rows as the test."""
        return self.test_dataloader()

    def _held_out(self, split: Split) -> StatefulDataLoader | list[Any]:
        rows = self.examples(split)
        if not len(cast(Any, rows)):
            return []
        return self._loader(rows, self._held_out_order(rows), self.eval_batch_size, drop_last=False)

    def _held_out_order(self, rows: Dataset[Example]) -> HeldOutSampler:
        ranks, rank = self._ranks()
        return HeldOutSampler(len(cast(Any, rows)), ranks=ranks, rank=rank)

    def _ranks(self) -> tuple[int, int]:
        return (self.trainer.world_size, self.trainer.global_rank) if self.trainer else (1, 0)

    def _loader(
        self, rows: Dataset[Example], order: Sampler[int], batch_size: int, *, drop_last: bool
    ) -> StatefulDataLoader:
        ranks, _ = self._ranks()
        if batch_size % ranks:
            raise ValueError(f"a batch of {batch_size} rows cannot be shared by {ranks} processes evenly")
        return StatefulDataLoader(
            rows,
            batch_size=batch_size // ranks,
            sampler=order,
            collate_fn=self._collate(),
            num_workers=self.num_workers,
            drop_last=drop_last,
        )

    def _collate(self) -> Callable[[Sequence[Any]], Any]:
        return of_stage(Collator(self.tokenizer), self.stage)


def of_stage(batches: Collator | Padder, stage: Stage) -> Callable[[Sequence[Any]], Any]:
    """Return the method that makes the batches of a stage."""
    return {
        "sft": batches.demonstrations,
        "reward_model": batches.preferences,
        "ppo": batches.prompts,
        "evaluation": batches.prompts,
    }[stage]
