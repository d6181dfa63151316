"""Restores `trainer.global_step` for validate and test."""

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer


class EvaluatedStep(Callback):
    """Sets `trainer.global_step`, which Lightning restores for a fit only."""

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Restore the step, unless Lightning does."""
        if trainer.state.fn != "fit":
            steps = trainer.fit_loop.epoch_loop.manual_optimization.optim_step_progress
            steps.total.completed = checkpoint["global_step"]
