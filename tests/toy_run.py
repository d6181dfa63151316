"""A LightningModule and data that train in milliseconds, with the kinds of settings that ours have."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from lightning.pytorch import LightningDataModule, LightningModule
from torch.utils.data import DataLoader, TensorDataset

from lightning_marlhf.evaluation.pairs import Pair
from lightning_marlhf.records import Verdict


@dataclass(frozen=True)
class Updates:
    lr: float = 0.1
    clip_range: float = 0.2
    shape: Literal["constant", "cosine"] = "constant"


class Condition:
    """A base class."""


class Fixed(Condition):
    def __init__(self, n: int | None = 5) -> None:
        self.n = n


class Drawn(Condition):
    def __init__(self, lengths: tuple[int, ...] = (2, 3)) -> None:
        self.lengths = lengths


class Toy(LightningModule):
    monitor = "loss/toy"

    def __init__(
        self, *, source: str, condition: Condition, updates: Updates = Updates(), mistake: str = "", seed: int = 0
    ) -> None:
        super().__init__()
        if mistake == "init":
            raise ValueError("source: expected a toy,\n got something else")
        self.automatic_optimization = False
        self.layer = torch.nn.Linear(2, 1)
        self.mistake = mistake
        self.seed = seed
        self.condition = condition
        self.learning = updates

    def training_step(self, batch: Any, batch_idx: int) -> None:
        if self.mistake == "step":
            raise RuntimeError("a fault of the program")
        if self.mistake == "disk":
            raise OSError(28, "No space left on device", "somewhere")
        loss = self.layer(batch[0]).square().mean()
        self.manual_backward(loss)
        optimizer = self.optimizers()
        optimizer.step()
        optimizer.zero_grad()
        self.trainer.callback_metrics["loss/toy"] = loss.detach()

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self.trainer.callback_metrics["eval/loss"] = self.layer(batch[0]).square().mean().detach()

    validation_step = test_step

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=self.learning.lr)

    def export(self, folder: Path, *, card: Any) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        torch.save(self.state_dict(), folder / "weights.pt")
        (folder / "README.md").write_text(str(card))


class ToyData(LightningDataModule):
    def __init__(self, rows: int = 16, *, batch_size: int = 2, seed: int = 0) -> None:
        super().__init__()
        self.rows = rows
        self.batch_size = batch_size
        self.seed = seed
        self.tokenizer = None

    def train_dataloader(self) -> DataLoader:
        return DataLoader(TensorDataset(torch.ones(self.rows, 2)), batch_size=self.batch_size)

    val_dataloader = test_dataloader = train_dataloader


class ToyJudge:
    """A judge of answers, of which the toy has none."""

    name = "toy"
    prompt_version = ""

    def __init__(self, margin: float = 0.0) -> None:
        self.margin = margin

    def orders(self, pair: Pair) -> tuple[str, ...]:
        return ("",)

    def judge(self, pairs: Sequence[Pair]) -> Iterator[Verdict]:
        yield from ()
