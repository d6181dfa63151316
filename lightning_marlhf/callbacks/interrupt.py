"""Ctrl-C, or a scheduler that wants the machine back, ends a run so that it can go on later."""

import os
import signal
import threading
from types import FrameType
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from lightning_marlhf.callbacks.checkpoint import Checkpoint, validation_follows
from lightning_marlhf.callbacks.ranks import prefix_of, say

EXIT_STATUS = 130  # what a shell reports for a program ended by Ctrl-C
RESTART_STATUS = (
    75  # EX_TEMPFAIL: nobody wanted the run to end; start it again with --ckpt_path last
)
STATUS_OF = {  # SLURM sends SIGTERM, or what `--signal` asks for, before it takes a machine away
    signal.SIGINT: EXIT_STATUS,
    signal.SIGTERM: RESTART_STATUS,
    signal.SIGUSR1: RESTART_STATUS,
}


class Interrupted(SystemExit):  # it says what happened, as KeyboardInterrupt does
    """The run was stopped from outside; ends the process without a traceback."""


class GracefulInterrupt(Callback):
    """The first Ctrl-C, SIGTERM or SIGUSR1 ends the run after the current batch, with a checkpoint; the second at once.

    Put it after the callbacks that write something at the end of a batch: it ends the run there. The exit status is 130
    after Ctrl-C, and 75 after the other signals, which mean: start again with `--ckpt_path last`.
    """

    def __init__(self) -> None:
        self._status = 0  # with which the run was asked to end
        self._prefix = ""
        self._handlers: dict[int, Any] = {}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take over the signals; elsewhere than in the main thread there are none."""
        self._status = 0
        self._prefix = prefix_of(trainer)
        if threading.current_thread() is threading.main_thread():
            self._handlers = {number: signal.signal(number, self._handle) for number in STATUS_OF}

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
        asked_before, self._status = self._status, STATUS_OF[signal.Signals(number)]
        if asked_before:
            self._give_back()
            raise Interrupted(self._status)
        say(
            f"\n{signal.Signals(number).name}: finishing this batch, then saving; once more stops at once\n",
            prefix=self._prefix,
        )

    def _end_if_asked(self, trainer: Trainer) -> None:
        status = self._status
        if not trainer.strategy.reduce_boolean_decision(status > 0, all=False):
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
            say(f"interrupted at update {trainer.global_step}: {saved}{how}\n", prefix=self._prefix)
        raise Interrupted(status or RESTART_STATUS)  # RESTART_STATUS: another rank was asked

    def _give_back(self) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers = {}
