"""Truncates the logs to the resumed step, so that no step is logged twice."""

from lightning.pytorch import Callback, LightningModule, Trainer


class ContinueLogs(Callback):
    """Calls `continue_from(step)` of every logger that has it when training starts."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Cut back, now that the step of the checkpoint is known."""
        for logger in trainer.loggers:
            if hasattr(logger, "continue_from"):
                logger.continue_from(trainer.global_step)
