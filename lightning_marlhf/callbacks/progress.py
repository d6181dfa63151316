"""A progress bar that counts updates; lines in a log without a terminal."""

import time
from functools import cache
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.text import Text

from lightning_marlhf.callbacks.eta import Paced, metric, total_updates
from lightning_marlhf.display.text import duration
from lightning_marlhf.ranges import NonNegative, checked

ALSO_SHOWN = ("objective/kl", "response_length/mean", "lr")


@cache
def console() -> Console:
    """Return the console of this process, one for banner and progress; it writes to standard output."""
    return Console(highlight=False, soft_wrap=True)


@checked
class UpdateProgress(Paced, ProgressBar):
    """Shows updates done of all, the module's `monitor`, a few more metrics, and the time left.

    Args:
        metrics: names shown after the monitor, as far as the module logs them.
        line_every_s: seconds between two lines without a terminal.
    """

    def __init__(self, *, metrics: list[str] | None = None, line_every_s: NonNegative = 30.0) -> None:
        super().__init__()
        self.metrics = tuple(ALSO_SHOWN if metrics is None else metrics)
        self.line_every_s = line_every_s
        self._enabled = True
        self._bar: Progress | None = None
        self._line_at = 0.0

    def disable(self) -> None:
        """Hide the bar."""
        self._enabled = False

    def enable(self) -> None:
        """Show again."""
        self._enabled = True

    def print(self, *args: Any, **kwargs: Any) -> None:
        """Print above the bar."""
        console().print(*args)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Open the bar."""
        super().on_train_start(trainer, pl_module)
        self._line_at = time.monotonic()
        self._open("fit", total_updates(trainer, pl_module), done=trainer.global_step)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Show where the run is."""
        self._show(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show the last numbers."""
        self._show(trainer, pl_module, last=True)
        self._close()

    def on_validation_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Show that the run is validating, which may take a while."""
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], what=f"validating, batch {batch_idx + 1}")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Go back to training."""
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], what=_words(trainer, pl_module, self.metrics))

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Open a bar that counts batches."""
        batches = trainer.num_test_batches
        self._open("test", int(sum(batches)), done=0)

    def on_test_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Count the batch."""
        if self._bar is not None:
            self._bar.advance(self._bar.task_ids[0])

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show the result."""
        self._close()
        if self._enabled and trainer.is_global_zero:
            console().print(Text(f"test: {_words(trainer, pl_module, ('eval/kl',))}"))

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Leave the terminal as it was."""
        self._close()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Leave the terminal as it was."""
        self._close()

    def _show(self, trainer: Trainer, pl_module: LightningModule, *, last: bool = False) -> None:
        if self.pace is None or not self._enabled:
            return
        left = "" if last else f"  {duration(self.pace.eta_s(trainer.global_step))} left"
        what = f"{_words(trainer, pl_module, self.metrics)}{left}"
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=trainer.global_step, what=what)
        elif last or time.monotonic() - self._line_at >= self.line_every_s:
            self._line_at = time.monotonic()
            total = "" if self.pace.total is None else f"/{self.pace.total}"
            seconds = duration(self.pace.seconds)
            console().print(Text(f"update {trainer.global_step}{total}  {what}  {seconds} so far"))

    def _open(self, name: str, total: int | None, *, done: int) -> None:
        self._close()
        if not self._enabled or not console().is_terminal:
            return
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[what]}"),
        )
        self._bar = Progress(*columns, console=console())
        self._bar.add_task(name, total=total, completed=done, what="")
        self._bar.start()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def _words(trainer: Trainer, module: LightningModule, others: tuple[str, ...]) -> str:
    """Name the monitor and ``others`` with their last values, those that were logged."""
    names = dict.fromkeys((getattr(module, "monitor", None), *others))
    values = {name: metric(trainer, name) for name in names if name}
    return "  ".join(f"{name} {value:.4g}" for name, value in values.items() if value is not None)
