"""A tiny module in manual optimisation, whose `global_step` jumps by 4 with every batch."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from torchdata.stateful_dataloader import StatefulDataLoader

from lightning_marlhf.data.tokenizers import character_tokenizer
from lightning_marlhf.types import Experience, MacroActions, Prompts, Rollout

UPDATES = 4  # per batch


def build_experience(texts: tuple[str, ...] = ("ab cd", "abc"), first: int = 0) -> Experience:
    """Rows whose tokens are characters, in macro actions of two tokens; the numbers tell what they are."""
    tokenizer = character_tokenizer("abcd ")
    ids = [tokenizer(text, add_special_tokens=False)["input_ids"] + [tokenizer.eos_token_id] for text in texts]
    width = max(map(len, ids))
    mask = torch.tensor([[t < len(row) for t in range(width)] for row in ids])
    padded = torch.tensor([row + [tokenizer.pad_token_id] * (width - len(row)) for row in ids])
    index = torch.where(mask, torch.arange(width) // 2, -1)
    count = index.max(dim=1).values + 1
    macro = torch.zeros(len(ids), int(count.max()))
    prompts = Prompts(
        input_ids=torch.ones(len(ids), 2, dtype=torch.long),
        attention_mask=torch.ones(len(ids), 2, dtype=torch.bool),
        sample_ids=tuple(f"s{first + row}" for row in range(len(ids))),
        texts=("a prompt",) * len(ids),
        references=({"facts": 2},) * len(ids),
    )
    token = torch.ones(len(ids), width)
    return Experience(
        rollout=Rollout(
            prompts=prompts,
            response_ids=padded,
            response_mask=mask,
            texts=texts,
            ended=torch.ones(len(ids), dtype=torch.bool),
        ),
        old_logprobs=-token,
        ref_logprobs=-1.5 * token,
        old_values=0.25 * token,
        scores=torch.arange(len(ids)).float(),
        raw_scores=torch.arange(len(ids)).float(),
        valid=torch.ones(len(ids), dtype=torch.bool),
        details=tuple({"gold": float(row)} for row in range(len(ids))),
        kl=0.5 * token,
        token_rewards=-0.1 * token,
        macro_actions=MacroActions(index=index, count=count, width=int(count.max())),
        macro_rewards=macro,
        macro_values=macro,
        macro_returns=macro,
        macro_advantages=macro,
        advantages=2.0 * token,
        returns=token,
    )


class TinyModule(LightningModule):
    """Makes four updates per batch and logs the metrics it is given."""

    monitor = "objective/scores"

    def __init__(self, metrics: Callable[[int], Mapping[str, float]] | None = None) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.layer = torch.nn.Linear(2, 1)
        self.metrics = metrics or (lambda step: {"objective/scores": float(step), "objective/kl": 0.5 * step})
        self.hook: Callable[[int], None] = lambda step: None

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=0.1)

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> dict[str, Any]:
        optimizer = self.optimizers()
        for _ in range(UPDATES):
            optimizer.zero_grad()
            self.manual_backward(self.layer(batch).square().mean())
            optimizer.step()
        self.hook(self.global_step)
        self.log_metrics(self.metrics(self.global_step))
        return {"experience": build_experience()}

    def validation_step(self, batch: torch.Tensor, batch_idx: int) -> dict[str, Any]:
        return {"experience": build_experience(first=2 * batch_idx)}

    test_step = validation_step

    def on_validation_epoch_end(self) -> None:
        self.log_metrics({"eval/gold": -abs(self.global_step - 8.0)})  # best at update 8

    def on_test_epoch_end(self) -> None:
        self.log_metrics({"eval/gold": 4.0})

    def describe(self) -> dict[str, str]:
        return {"rollouts": "6 of 2 prompts"}

    def export(self, folder: Path, *, card: Mapping[str, Any]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "card.txt").write_text(repr(dict(card)))

    def log_metrics(self, metrics: Mapping[str, float]) -> None:
        for logger in self.loggers:
            logger.log_metrics(dict(metrics), step=self.global_step)
        self.trainer.callback_metrics.update({name: torch.tensor(v) for name, v in metrics.items()})


class TinyData(LightningDataModule):
    """Six batches of training, two of validation and test."""

    seed = 7

    def __init__(self) -> None:
        super().__init__()
        self.tokenizer = character_tokenizer("abcd ")

    def describe(self) -> dict[str, str]:
        return {"data": "12 rows"}

    def train_dataloader(self) -> StatefulDataLoader:
        return StatefulDataLoader(torch.arange(24.0).reshape(12, 2), batch_size=2)

    def val_dataloader(self) -> StatefulDataLoader:
        return StatefulDataLoader(torch.arange(8.0).reshape(4, 2), batch_size=2)

    test_dataloader = val_dataloader


def build_trainer(folder: Path, *callbacks: Callback, max_steps: int = 24, **options: Any) -> Trainer:
    defaults: dict[str, Any] = {
        "logger": False,
        "limit_val_batches": 0,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "log_every_n_steps": 1,
    }
    return Trainer(
        default_root_dir=folder,
        callbacks=list(callbacks),
        max_steps=max_steps,
        accelerator="cpu",
        num_sanity_val_steps=0,
        enable_model_summary=False,
        **{**defaults, **options},
    )
