"""A watchdog that dumps stack traces when training hangs."""

import faulthandler
import os
import threading
import time
from datetime import timedelta
from typing import Any, Literal

from lightning.pytorch import Callback, LightningModule, Trainer

from lightning_marlhf.callbacks.interrupt import REQUEUE_STATUS
from lightning_marlhf.callbacks.ranks import prefix_of, write_stderr
from lightning_marlhf.ranges import Seconds, checked

_STDERR = 2
_MARGIN_S = 60.0  # than a collective gives up, which may end the process


@checked
class Watchdog(Callback):
    """Prints rank, update, phase and stack traces in each process if no batch ends for `timeout_s`.

    Args:
        timeout_s: seconds without the end of a batch before it reports; collectives give up a minute later.
        action: "report" keeps waiting, and reports again; "exit" ends the process (status 75: requeue), so that the
            launcher can restart the run.
    """

    def __init__(self, *, timeout_s: Seconds = 1800.0, action: Literal["report", "exit"] = "report") -> None:
        self.timeout_s = timeout_s
        self.action = action
        self._ended_at = 0.0
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def set_collective_timeout(self, trainer: Trainer) -> None:
        """Set the timeout of the process group, before it is created."""
        if hasattr(trainer.strategy, "_timeout"):
            trainer.strategy._timeout = timedelta(seconds=self.timeout_s + _MARGIN_S)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the watching thread."""
        self._beat()
        self._stop.clear()
        self._thread = threading.Thread(target=self._watch, args=(trainer, pl_module), name="watchdog", daemon=True)
        self._thread.start()

    def _beat(self, *_: Any) -> None:
        """Reset the timer."""
        self._ended_at = time.monotonic()

    on_train_batch_end = on_validation_batch_end = _beat
    on_train_end = _beat  # the export follows

    def _end(self, *_: Any, stage: str = "") -> None:
        """Stop the thread."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    on_exception = teardown = _end

    def _watch(self, trainer: Trainer, module: LightningModule) -> None:
        while not self._stop.wait(self._left()):
            if self._left() > 0:
                continue
            phase = getattr(module, "phase", "") or str(trainer.state.stage)
            write_stderr(
                f"watchdog: rank {trainer.global_rank} of {trainer.world_size}: no batch has ended for "
                f"{self.timeout_s:g} s; {trainer.global_step} updates done, now in: {phase}; its threads:\n",
                prefix=prefix_of(trainer),
            )
            faulthandler.dump_traceback(file=_STDERR, all_threads=True)
            if self.action == "exit":
                os._exit(REQUEUE_STATUS)
            self._beat()

    def _left(self) -> float:
        return max(0.0, self._ended_at + self.timeout_s - time.monotonic())
