"""The DataModule protocol that modules and callbacks rely on; `data.RLHFDataModule` implements it."""

from collections.abc import Iterable
from typing import Any, Literal, Protocol, cast

from lightning.pytorch import Trainer
from transformers import PreTrainedTokenizerBase

from lightning_marlhf.hub.reward_format import RewardInput
from lightning_marlhf.types import SupervisedBatch


class Data(Protocol):
    """Batches of one stage of RLHF, over all ranks together."""

    stage: str
    """"sft", "reward_model", "ppo" or "evaluation"."""
    batch_size: int
    """Rows per update (sft, reward_model) or per rollout (ppo), over all ranks together."""
    seed: int
    """Of the order of the training rows."""

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The tokenizer of every text, which is also the model's."""
        ...

    @property
    def longest(self) -> int:
        """Tokens of the longest row that a batch may hold: a prompt (ppo), or prompt, response and EOS."""
        ...

    @property
    def reward_input(self) -> RewardInput:
        """How a reward model is shown a prompt and its response."""
        ...

    def num_valid_rows(self, split: Literal["validate", "test"], batch: int) -> int:
        """Count the valid rows of this rank's held-out ``batch`` (from 0); the rows after them are padding."""
        ...

    def demonstrations(self, rows: int) -> SupervisedBatch:
        """Return some demonstrations, whatever the stage: what reward models are centred on."""
        ...

    def train_dataloader(self) -> Any:
        """Return the batches of an epoch; they can be counted by `len`."""
        ...

    def val_dataloader(self) -> Iterable[Any]:
        """Return the held-out batches, in order."""
        ...


def data_of(trainer: Trainer) -> Data:
    """Return the DataModule of a run."""
    return cast(Data, trainer.datamodule)  # type: ignore[attr-defined]
