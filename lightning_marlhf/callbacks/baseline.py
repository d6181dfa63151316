"""The answers that a policy is compared with: its own before any update, or those of a file."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn
from lightning.pytorch.utilities.seed import isolate_rng

from lightning_marlhf.callbacks.rollouts import (
    experience_of,
    gather_rows,
    records_of,
    sampling_of,
)
from lightning_marlhf.evaluation.pairs import asked
from lightning_marlhf.records import Completion, read_completions, write_jsonl
from lightning_marlhf.run_folder import COMPLETIONS


class Baseline:
    """Answers to held-out prompts, made once and kept: in `completions/baseline.jsonl` and in the checkpoint.

    Args:
        given: completions to take instead of the policy's own.
        num_prompts: how many prompts are answered.

    Raises:
        ValueError: there are no completions in ``given``.
    """

    def __init__(self, given: Path | None, *, num_prompts: int) -> None:
        self.num_prompts = num_prompts
        self.rows = [] if given is None else read_completions(given)
        self._is_given = given is not None
        if given is not None and not self.rows:
            raise ValueError(f"win_rate.baseline: no completions in {given}")

    def settle(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Find the answers, or let the policy make them if it has not learnt yet; all ranks have to call this."""
        path = Path(trainer.default_root_dir) / COMPLETIONS / "baseline.jsonl"
        if not self.rows and trainer.training and trainer.global_step == 0:
            self.rows = self._answer(trainer, pl_module)
        elif not self.rows and path.exists():
            self.rows = read_completions(path)
        if self.rows and trainer.is_global_zero:
            write_jsonl(path, self.rows)
        self._explain(trainer, pl_module)

    def state_dict(self) -> dict[str, Any]:
        """Return the answers with their sampling settings, unless they were given as a file."""
        return {"rows": [] if self._is_given else [row.to_dict() for row in self.rows]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take the answers over, unless others are given."""
        if not self._is_given:
            self.rows = [Completion.from_dict(row) for row in state["rows"]]

    def _answer(self, trainer: Trainer, pl_module: LightningModule) -> list[Completion]:
        """Answer the first validation prompts; training then goes on as if nothing had happened."""
        rows: list[Completion] = []
        found: list[Completion] = []
        with torch.no_grad(), isolate_rng():
            pl_module.on_validation_epoch_start()
            for number, batch in enumerate(trainer.datamodule.val_dataloader()):  # type: ignore[attr-defined]
                batch = trainer.strategy.batch_to_device(batch, pl_module.device)
                experience = experience_of(trainer.strategy.validation_step(batch, number))
                if experience is not None:
                    rows += records_of(trainer, pl_module, experience, step=0)
                found = first_answers(gather_rows(rows, trainer))[: self.num_prompts]
                if len(found) == self.num_prompts:
                    break
        return found

    def _explain(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say what is wrong with the comparison, if anything is."""
        if not self.rows:
            rank_zero_warn(
                "win_rate: nothing to compare with, as this policy has been trained already (or there are no "
                "validation prompts); win_rate.baseline takes a file of completions"
            )
            return
        ours, theirs = sampling_of(pl_module), self.rows[0].settings
        differing = [name for name in ours if theirs.get(name, ours[name]) != ours[name]]
        if differing:
            what = ", ".join(f"{name} {theirs[name]} against {ours[name]}" for name in differing)
            rank_zero_warn(f"win_rate: the baseline was sampled differently: {what}")


def first_answers(rows: Iterable[Completion]) -> list[Completion]:
    """Keep the first answer to each prompt."""
    by_prompt: dict[str, Completion] = {}
    for row in rows:
        by_prompt.setdefault(asked(row), row)
    return list(by_prompt.values())
