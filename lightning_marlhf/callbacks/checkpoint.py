"""The checkpoint callback with atomic saves, and safe checkpoint I/O."""

import errno
import os
import shutil
from pathlib import Path
from typing import Annotated, Any, Literal
from weakref import proxy

from lightning.fabric.plugins.io import TorchCheckpointIO
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from lightning_marlhf.models.find_checkpoint import last_checkpoint, previous_path
from lightning_marlhf.models.safe_checkpoint import broken, read_checkpoint, write_data
from lightning_marlhf.ranges import PositiveInt, Range, checked
from lightning_marlhf.run_folder import BEST_CHECKPOINT, CHECKPOINTS, LAST

_PARTS = {"state_dict": dict, "optimizer_states": list, "loops": dict, "callbacks": dict}


@checked
class Checkpoint(ModelCheckpoint):
    """Saves `checkpoints/last.ckpt` to resume from, and on request the best by a validation metric.

    `last.ckpt` is saved at the end of the first batch at which enough updates have passed since it was saved before
    (a batch makes several updates, so no step need be a multiple of anything), and at the end of the fit; if a
    validation follows that batch, after it, since a resumed run would skip an interrupted validation. It is
    written to a temporary name and renamed, so that a kill at any time leaves a complete one. Under
    a strategy that shards, it is written in the background.

    Args:
        every_n_train_steps: updates between two saves of `last.ckpt`.
        monitor: validation metric of the best checkpoint, `best-STEP.ckpt`; null keeps none.
        mode: whether a "max" or a "min" of the metric is best.
        save_top_k: number of the best that are kept; -1 keeps all.
        dirpath: folder of the checkpoints; null is `checkpoints` in the run directory.
    """

    def __init__(
        self,
        *,
        every_n_train_steps: PositiveInt = 50,
        monitor: str | None = None,
        mode: Literal["max", "min"] = "max",
        save_top_k: Annotated[int, Range(at_least=-1)] = 1,
        dirpath: str | None = None,
    ) -> None:
        super().__init__(
            dirpath=dirpath,
            filename=BEST_CHECKPOINT,
            monitor=monitor,
            mode=mode,
            save_top_k=save_top_k if monitor else 0,
            every_n_epochs=1,  # of validation: the best is looked for whenever it has run
            save_on_train_epoch_end=False,
            auto_insert_metric_name=False,
            enable_version_counter=False,
        )
        self.every = every_n_train_steps
        self._last_saved_at = 0

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Resolve the folder, and check that it is writable.

        Raises:
            PermissionError: the folder is there and nothing may be written to it.
        """
        folder = Path(trainer.strategy.broadcast(self._folder(trainer)))
        self.dirpath = str(folder)
        if stage == "fit" and folder.exists() and not os.access(folder, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder))

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Restore `trainer.global_step` for validate and test, too; Lightning restores it for a fit only."""
        if trainer.state.fn != "fit":
            steps = trainer.fit_loop.epoch_loop.manual_optimization.optim_step_progress
            steps.total.completed = checkpoint["global_step"]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count from the checkpoint that the run is resumed from."""
        super().on_train_start(trainer, pl_module)
        self._last_saved_at = trainer.global_step

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Save `last.ckpt` if due."""
        if not validation_follows(trainer):
            self._save_when_due(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the best, and `last.ckpt` if due."""
        super().on_validation_end(trainer, pl_module)
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._save_when_due(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save `last.ckpt` at the end of the fit."""
        self.save_last_checkpoint(trainer)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Save the data position; an epoch ends with its last batch."""
        over = trainer.fit_loop.epoch_loop._num_ready_batches_reached()
        checkpoint["epoch"] = normalize_loop_state(checkpoint["loops"], epoch_over=over)

    def _save_when_due(self, trainer: Trainer) -> None:
        if trainer.global_step - self._last_saved_at >= self.every:
            self.save_last_checkpoint(trainer, wait=False)

    def save_last_checkpoint(self, trainer: Trainer, *, wait: bool = True) -> Path:
        """Save `last.ckpt`, unless it is of this very update already; collective.

        Args:
            trainer: the run's trainer.
            wait: return when the file is there; else it may still be written in the background.

        Returns:
            Path of the file.
        """
        path = Path(self._folder(trainer)) / LAST
        if wait and _in_background(trainer):
            trainer.strategy.finish_saving()  # type: ignore[attr-defined]
        if trainer.fast_dev_run or (trainer.global_step == self._last_saved_at and path.exists()):
            return path
        self.last_model_path = str(path)
        best_saved_at = self._last_global_step_saved
        self._save_checkpoint(trainer, str(path), wait=wait)
        self._last_global_step_saved = best_saved_at  # or the best one of this update is not saved
        self._last_saved_at = trainer.global_step
        return path

    def _save_checkpoint(self, trainer: Trainer, filepath: str, *, wait: bool = True) -> None:
        """Save to a temporary path, then rename; Lightning's own saves go through here, too."""
        path = Path(filepath)
        partial = path.with_name(f".{path.name}.partial")
        if _in_background(trainer):
            trainer.strategy.finish_saving()  # type: ignore[attr-defined]
        if trainer.is_global_zero:
            path.parent.mkdir(parents=True, exist_ok=True)
            _remove(partial)
        in_background = _in_background(trainer) and not wait
        try:
            if in_background:
                trainer.save_checkpoint(partial, storage_options=lambda: _replace(partial, path))
            else:
                trainer.save_checkpoint(partial)  # ends with a barrier
        except OSError:  # disk full: delete the partial file
            _remove(partial)
            raise
        if not in_background:
            if trainer.is_global_zero:
                _replace(partial, path)
            trainer.strategy.barrier("checkpoint renamed")
        self._last_global_step_saved = trainer.global_step
        self._last_checkpoint_saved = filepath
        for logger in trainer.loggers if trainer.is_global_zero else ():
            logger.after_save_checkpoint(proxy(self))

    def _find_last_checkpoints(self, trainer: Trainer) -> set[str]:
        """Resolve `ckpt_path="last"`; Lightning calls this before `setup`."""
        path = last_checkpoint(Path(self._folder(trainer)))
        return set() if path is None else {str(path)}

    def _folder(self, trainer: Trainer) -> str:
        folder = self.dirpath or Path(trainer.default_root_dir) / CHECKPOINTS
        return os.path.realpath(folder)


def save_last(trainer: Trainer) -> Path | None:
    """Save `last.ckpt` of a run that keeps checkpoints; collective."""
    if trainer.fast_dev_run:
        return None
    keepers = (c for c in trainer.checkpoint_callbacks if isinstance(c, Checkpoint))
    return next((keeper.save_last_checkpoint(trainer) for keeper in keepers), None)


def validation_follows(trainer: Trainer) -> bool:
    """Return, at the end of a training batch, whether validation comes next."""
    loop = trainer.fit_loop
    fetcher = loop._data_fetcher
    assert fetcher is not None
    return not loop.epoch_loop.val_loop.skip and loop.epoch_loop._should_check_val_fx(fetcher)


def normalize_loop_state(loops: dict[str, Any], *, epoch_over: bool) -> int:
    """Normalise Lightning's loop state, so that a resumed run continues with the next batch.

    Inside an epoch it is that of a batch's end, from which Lightning continues with the next batch; if the epoch is
    over, the next one has not begun. Lightning itself closes the epoch wherever training stops, so that a resumed run
    would leave out the rest of its rows, and restores other things after a save at a batch's end than after a
    validation or at the end of a fit.

    Args:
        loops: "loops" of a checkpoint; changed in place.
        epoch_over: the last batch of the epoch is done.

    Returns:
        Number of epochs that are over.
    """
    fit = loops["fit_loop"]
    epochs, batches = fit["epoch_progress"], fit["epoch_loop.batch_progress"]
    if batches["current"]["ready"]:  # else there was no batch since the run began or was resumed
        for count in (epochs["total"], epochs["current"]):
            over = count["started"] if epoch_over else count["started"] - 1
            count.update(ready=count["started"], processed=over, completed=over)
        for count in (batches["total"], batches["current"]):
            closed = count["ready"] if epoch_over else count["ready"] - 1
            count.update(started=count["ready"], processed=count["ready"], completed=closed)
        fit["epoch_loop.state_dict"]["_batches_that_stepped"] = batches["total"]["completed"]
        if epoch_over:
            batches.update(current=dict.fromkeys(batches["current"], 0), is_last_batch=False)
            fit["state_dict"].pop("combined_loader", None)
    return int(epochs["current"]["processed"])


def _in_background(trainer: Trainer) -> bool:
    """Return whether the strategy can write a checkpoint in the background."""
    return hasattr(trainer.strategy, "finish_saving")


def _replace(new: Path, old: Path) -> None:
    """Put ``new`` in the place of ``old``; both are files, or folders (sharded checkpoints)."""
    for file in new.iterdir() if new.is_dir() else [new]:
        with file.open("rb") as written:
            os.fsync(written.fileno())
    previous = previous_path(old)
    if old.exists() and (old.is_dir() or new.is_dir()):
        # a folder cannot be replaced in one step: the old one stays complete until the new one has its name
        _remove(previous)
        old.rename(previous)
    new.replace(old)
    _remove(previous)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


class DirectCheckpointIO(TorchCheckpointIO):
    """Checkpoint I/O without intermediate copies, and with safe loading.

    Lightning's way of writing makes a copy of it in memory and another in /tmp, and neither may have room for it.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write a checkpoint.

        Raises:
            OSError: the disk is full, or the like; names ``path``.
            ValueError: it holds something else than data.
        """
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        write_data(checkpoint, Path(path))

    def load_checkpoint(
        self, path: str | Path, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read a checkpoint onto the CPU, as data alone, whatever the arguments say.

        Raises:
            BrokenCheckpointError: it cannot be read, or holds something else than data, or not all of a run's state.
        """
        state = read_checkpoint(Path(path))
        for name, kind in _PARTS.items():
            part = state.get(name)
            if not isinstance(part, kind) or not part:
                raise broken(path, f"is incomplete: no {name}")
        return state
