"""Graceful shutdown: SIGINT, SIGTERM, SIGUSR1 and SIGHUP save a checkpoint and end the run."""

import os
import select
import signal
import threading
from types import FrameType
from typing import Any, Self

from lightning.pytorch import Callback, LightningModule, Trainer

from lightning_marlhf.callbacks.checkpoint import save_last, validation_follows
from lightning_marlhf.callbacks.ranks import prefix_of, write_stderr

EXIT_STATUS = 130  # what a shell reports for a program ended by Ctrl-C
REQUEUE_STATUS = 75  # EX_TEMPFAIL: requeue the run, with --ckpt_path last
STATUS_OF = {  # SLURM sends SIGTERM, or what `--signal` asks for, before it takes a machine away
    signal.SIGINT: EXIT_STATUS,
    signal.SIGTERM: REQUEUE_STATUS,
    signal.SIGUSR1: REQUEUE_STATUS,
    signal.SIGHUP: REQUEUE_STATUS,  # the terminal was closed, or the connection to it was lost
}


class RunInterrupted(SystemExit):
    """The run was stopped from outside; ends the process without a traceback.

    Attributes:
        reported: a message has been printed, with the path of the checkpoint.
    """

    def __init__(self, status: int, *, reported: bool = False) -> None:
        super().__init__(status)
        self.reported = reported


class Signals:
    """The signal handlers of this process.

    Inside its `with` block a signal raises `RunInterrupted` where the process is: nothing is lost while networks are
    loaded, or after the last checkpoint. While it is `deferred`, the first signal only sets `status`, for the end of
    the batch. It stays set if third-party code swallows the exception.
    """

    def __init__(self) -> None:
        self.status = 0  # requested exit status; 0: none
        self.deferred = False
        self.prefix = ""  # of the messages
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        """Install the handlers."""
        self.status, self.deferred = 0, False
        self.install()
        return self

    def __exit__(self, *_: object) -> None:
        """Restore the previous handlers."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def install(self) -> None:
        """Take over the signals, from Lightning too; elsewhere than in the main thread there are none."""
        if threading.current_thread() is not threading.main_thread():
            return
        for number in STATUS_OF:
            handler = signal.getsignal(number)
            if handler not in (signal.SIG_IGN, self._handle):  # respect nohup
                self._before.setdefault(number, signal.signal(number, self._handle))

    def raise_if_requested(self) -> None:
        """End the process where the exception of a signal was swallowed.

        Raises:
            RunInterrupted: a signal requested the end.
        """
        if self.status:
            raise RunInterrupted(self.status)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        requested_before, self.status = self.status, STATUS_OF[signal.Signals(number)]
        if number == signal.SIGHUP:
            _leave_closed_terminal()
        if requested_before or not self.deferred:
            raise RunInterrupted(self.status)
        name = signal.Signals(number).name
        text = f"\n{name}: finishing this batch, then saving; press again to stop immediately\n"
        write_stderr(text, prefix=self.prefix)


class GracefulInterrupt(Callback):
    """The first signal ends training after the current batch, with a checkpoint; the second, or one elsewhere, at once.

    Put it after the callbacks that write something at the end of a batch: it ends the run there. The exit status is 130
    after Ctrl-C, and 75 after the other signals: requeue with `--ckpt_path last`.

    Args:
        signals: the process's handlers, if already installed.
    """

    def __init__(self, signals: Signals | None = None) -> None:
        self._signals = signals or Signals()
        self._owns_signals = signals is None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take over the signals."""
        if self._owns_signals:
            self._signals.__enter__()
        self._signals.install()
        self._signals.raise_if_requested()
        self._signals.prefix = prefix_of(trainer)
        self._signals.deferred = True

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """End the run if a signal arrived, on any rank; after the validation, if one follows."""
        if not validation_follows(trainer):
            self._raise_if_requested(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The same after a validation."""
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._raise_if_requested(trainer)

    def on_evaluation_batch_start(self, trainer: Trainer, *_: Any) -> None:
        """End a standalone evaluation if a signal arrived."""
        if not self._signals.deferred:
            self._signals.install()
            self._signals.raise_if_requested()

    on_validation_batch_start = on_test_batch_start = on_predict_batch_start = on_evaluation_batch_start

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """End the run if that was asked for since its last batch; signals end what follows at once."""
        self._raise_if_requested(trainer)
        self._restore()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Let signals end what follows at once, and the processes that this one has started."""
        self._restore()
        launcher = trainer.strategy.launcher
        if isinstance(exception, RunInterrupted) and not exception.reported and launcher is not None:
            launcher.kill(signal.SIGTERM)

    def _raise_if_requested(self, trainer: Trainer) -> None:
        status = self._signals.status
        if not trainer.strategy.reduce_boolean_decision(status > 0, all=False):
            return
        path = save_last(trainer)
        if trainer.is_global_zero:
            saved = f"saved {os.path.relpath(path)}; " if path else "nothing was saved; "
            how = "resume with the same command and --ckpt_path last" if path else "this run has no checkpoints"
            text = f"interrupted at update {trainer.global_step}: {saved}{how}\n"
            write_stderr(text, prefix=self._signals.prefix)
        # REQUEUE_STATUS: another rank got the signal
        raise RunInterrupted(status or REQUEUE_STATUS, reported=True)

    def _restore(self) -> None:
        self._signals.deferred = False
        if self._owns_signals:
            self._signals.__exit__()


def _leave_closed_terminal() -> None:
    """Redirect closed output streams to /dev/null, so that the next write does not fail."""
    output = select.poll()
    for stream in (1, 2):
        output.register(stream, 0)
    for stream, _ in output.poll(0):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
