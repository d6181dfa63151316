"""Ctrl-C ends a run so that it can go on later."""

import os
import signal
import threading
from types import FrameType
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from lightning_marlhf.callbacks.checkpoint import Checkpoint, validation_follows

EXIT_STATUS = 130  # what a shell reports for a program ended by Ctrl-C
SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(SystemExit):  # it says what happened, as KeyboardInterrupt does
    """The user stopped the run; ends the process with status 130 and no traceback."""

    def __init__(self) -> None:
        super().__init__(EXIT_STATUS)


class GracefulInterrupt(Callback):
    """The first Ctrl-C (or SIGTERM) ends the run after the current batch, with a checkpoint; the second at once.

    Put it after the callbacks that write something at the end of a batch: it ends the run there.
    """

    def __init__(self) -> None:
        self._asked = False
        self._handlers: dict[signal.Signals, Any] = {}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take over the signals; elsewhere than in the main thread there are none."""
        self._asked = False
        if threading.current_thread() is threading.main_thread():
            self._handlers = {number: signal.signal(number, self._handle) for number in SIGNALS}

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """End the run if that was asked for, on any rank; after the validation, where one follows."""
        if not validation_follows(trainer):
            self._end_if_asked(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The same after a validation."""
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._end_if_asked(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Give the signals back."""
        self._give_back()

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Give the signals back."""
        self._give_back()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._asked:
            self._give_back()
            raise Interrupted
        self._asked = True
        _say(
            f"\n{signal.Signals(number).name}: finishing this batch, then saving; once more stops at once\n"
        )

    def _end_if_asked(self, trainer: Trainer) -> None:
        if not trainer.strategy.reduce_boolean_decision(self._asked, all=False):
            return
        paths = [
            c.save_last_checkpoint(trainer)
            for c in trainer.checkpoint_callbacks
            if isinstance(c, Checkpoint)
        ]
        if trainer.is_global_zero:
            saved = f"saved {os.path.relpath(paths[0])}; " if paths else "nothing was saved; "
            how = (
                "go on with the same command and --ckpt_path last"
                if paths
                else "this run has no checkpoints"
            )
            _say(f"interrupted at update {trainer.global_step}: {saved}{how}\n")
        raise Interrupted

    def _give_back(self) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers = {}


def _say(text: str) -> None:
    """Write to stderr in one system call: inside a signal handler buffered streams may be locked."""
    os.write(2, text.encode())
