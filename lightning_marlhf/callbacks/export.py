"""Exports the trained model as a Hugging Face directory at the end of a fit."""

from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from lightning_marlhf.callbacks.checkpoint import save_last
from lightning_marlhf.callbacks.environment import describe_environment
from lightning_marlhf.callbacks.eta import finite_metrics
from lightning_marlhf.run_folder import CONFIG_FILE, EXPORT


class ExportError(ValueError):
    """The trained model could not be exported; its last checkpoint is there."""


class ExportHF(Callback):
    """Calls the module's `export` at the end of a fit, on every rank, with a model card of the run.

    The last checkpoint is saved before, so that an export which fails loses no update.
    """

    def __init__(self) -> None:
        self._exported = False

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Export while the networks are still where training left them."""
        self._export(trainer, pl_module)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Export if training had finished before but the export had not."""
        if not self._exported:
            self._export(trainer, pl_module)

    def _export(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.fast_dev_run:
            return
        folder = Path(trainer.default_root_dir)
        saved = save_last(trainer)
        try:
            pl_module.export(folder / EXPORT, card=model_card(trainer, folder))  # type: ignore[operator]
        except Exception as error:
            again = f"; {saved} holds all updates: `export {folder}` tries again" if saved else ""
            raise ExportError(
                f"the export failed: {' '.join(str(error).split()) or type(error).__name__}{again}"
            ) from error
        self._exported = True


def model_card(trainer: Trainer, folder: Path) -> dict[str, Any]:
    """Return the content of the model card: metrics, where the model comes from, and the resolved config."""
    environment = describe_environment()
    config = folder / CONFIG_FILE
    card: dict[str, Any] = {
        "metrics": finite_metrics(trainer),
        "run": {"updates": trainer.global_step, "git commit": environment["git_commit"], **environment["versions"]},
    }
    if config.is_file():
        card["configuration"] = config.read_text(encoding="utf-8")
    return card
