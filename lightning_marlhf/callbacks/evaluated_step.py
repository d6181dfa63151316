"""Lets test and validate of a checkpoint count the updates that the checkpoint has seen, for logs and records."""

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer


class EvaluatedStep(Callback):
    """Sets `trainer.global_step`, which Lightning restores for a fit only."""

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Take the step over, unless Lightning will."""
        if trainer.state.fn != "fit":
            steps = trainer.fit_loop.epoch_loop.manual_optimization.optim_step_progress
            steps.total.completed = checkpoint["global_step"]
