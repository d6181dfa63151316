"""Ctrl-C, a scheduler that wants the machine back, or a closed terminal ends a run so that it can be resumed."""

import os
import select
import signal
import threading
from types import FrameType
from typing import Any, Self

from lightning.pytorch import Callback, LightningModule, Trainer

from lightning_marlhf.callbacks.checkpoint import save_last, validation_follows
from lightning_marlhf.callbacks.ranks import prefix_of, say

EXIT_STATUS = 130  # what a shell reports for a program ended by Ctrl-C
REQUEUE_STATUS = 75  # EX_TEMPFAIL: requeue the run, with --ckpt_path last
STATUS_OF = {  # SLURM sends SIGTERM, or what `--signal` asks for, before it takes a machine away
    signal.SIGINT: EXIT_STATUS,
    signal.SIGTERM: REQUEUE_STATUS,
    signal.SIGUSR1: REQUEUE_STATUS,
    signal.SIGHUP: REQUEUE_STATUS,  # the terminal was closed, or the connection to it was lost
}


class Interrupted(SystemExit):
    """The run was stopped from outside; ends the process without a traceback.

    Attributes:
        told: a message has been printed, with what was saved.
    """

    def __init__(self, status: int, *, told: bool = False) -> None:
        super().__init__(status)
        self.told = told


class Signals:
    """What signals have asked of this process.

    Between its beginning and its end (`with`) a signal raises `Interrupted` where the process is: nothing is lost while
    networks are loaded, or when the last checkpoint is written. While it is `patient`, the first signal is only noted,
    for whoever can end the run in good order. It stays noted where third-party code swallows the exception.
    """

    def __init__(self) -> None:
        self.status = 0  # with which the process was asked to end
        self.patient = False
        self.prefix = ""  # of what is said
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        """Begin to listen."""
        self.status, self.patient = 0, False
        self.take()
        return self

    def __exit__(self, *_: object) -> None:
        """Give the signals back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def take(self) -> None:
        """Take over the signals, from Lightning too; elsewhere than in the main thread there are none."""
        if threading.current_thread() is not threading.main_thread():
            return
        for number in STATUS_OF:
            handler = signal.getsignal(number)
            if handler not in (signal.SIG_IGN, self._handle):  # nohup's wish is respected
                self._before.setdefault(number, signal.signal(number, self._handle))

    def end_if_asked(self) -> None:
        """End the process where the exception of a signal was swallowed.

        Raises:
            Interrupted: it was asked to end.
        """
        if self.status:
            raise Interrupted(self.status)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        asked_before, self.status = self.status, STATUS_OF[signal.Signals(number)]
        if number == signal.SIGHUP:
            _leave_closed_terminal()
        if asked_before or not self.patient:
            raise Interrupted(self.status)
        name = signal.Signals(number).name
        text = f"\n{name}: finishing this batch, then saving; once more stops at once\n"
        say(text, prefix=self.prefix)


class GracefulInterrupt(Callback):
    """The first signal ends training after the current batch, with a checkpoint; the second, or one elsewhere, at once.

    Put it after the callbacks that write something at the end of a batch: it ends the run there. The exit status is 130
    after Ctrl-C, and 75 after the other signals: requeue with `--ckpt_path last`.

    Args:
        signals: those of the process, where somebody listens already.
    """

    def __init__(self, signals: Signals | None = None) -> None:
        self._signals = signals or Signals()
        self._listens_itself = signals is None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take over the signals."""
        if self._listens_itself:
            self._signals.__enter__()
        self._signals.take()
        self._signals.end_if_asked()
        self._signals.prefix = prefix_of(trainer)
        self._signals.patient = True

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """End the run if that was asked for, on any rank; after the validation, where one follows."""
        if not validation_follows(trainer):
            self._end_if_asked(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The same after a validation."""
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._end_if_asked(trainer)

    def on_evaluation_batch_start(self, trainer: Trainer, *_: Any) -> None:
        """End an evaluation that is none of a fit, if that was asked for."""
        if not self._signals.patient:
            self._signals.take()
            self._signals.end_if_asked()

    on_validation_batch_start = on_test_batch_start = on_predict_batch_start = on_evaluation_batch_start

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """End the run if that was asked for since its last batch; signals end what follows at once."""
        self._end_if_asked(trainer)
        self._give_back()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Let signals end what follows at once, and the processes that this one has started."""
        self._give_back()
        launcher = trainer.strategy.launcher
        if isinstance(exception, Interrupted) and not exception.told and launcher is not None:
            launcher.kill(signal.SIGTERM)

    def _end_if_asked(self, trainer: Trainer) -> None:
        status = self._signals.status
        if not trainer.strategy.reduce_boolean_decision(status > 0, all=False):
            return
        path = save_last(trainer)
        if trainer.is_global_zero:
            saved = f"saved {os.path.relpath(path)}; " if path else "nothing was saved; "
            how = "resume with the same command and --ckpt_path last" if path else "this run has no checkpoints"
            text = f"interrupted at update {trainer.global_step}: {saved}{how}\n"
            say(text, prefix=self._signals.prefix)
        # REQUEUE_STATUS: another rank was asked
        raise Interrupted(status or REQUEUE_STATUS, told=True)

    def _give_back(self) -> None:
        self._signals.patient = False
        if self._listens_itself:
            self._signals.__exit__()


def _leave_closed_terminal() -> None:
    """Write to nowhere from now on, where nobody is there to read it: the next line would be an error."""
    output = select.poll()
    for stream in (1, 2):
        output.register(stream, 0)
    for stream, _ in output.poll(0):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
