"""Cuts the logs back to where a run goes on, so that no step is in them twice."""

from lightning.pytorch import Callback, LightningModule, Trainer


class ContinueLogs(Callback):
    """Tells every logger that can cut itself back (`continue_from`) at which update training starts."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Cut back, now that the step of the checkpoint is known."""
        for logger in trainer.loggers:
            if hasattr(logger, "continue_from"):
                logger.continue_from(trainer.global_step)
