"""Base classes of callbacks on rollouts and held-out batches, and the completion writer."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from lightning_marlhf.callbacks.completion_records import gather_rows, records_of
from lightning_marlhf.ranges import NonNegativeInt, checked
from lightning_marlhf.records import Completion, write_jsonl
from lightning_marlhf.run_folder import COMPLETIONS
from lightning_marlhf.types import Experience


def experience_of(outputs: Any) -> Experience | None:
    """Return the experience in the outputs of a step; None if the step is no rollout."""
    found = outputs.get("experience") if isinstance(outputs, Mapping) else None
    return found if isinstance(found, Experience) else None


class ValidationCallback(Callback):
    """Base of callbacks that collect what each validation batch returns and use it when the last one is done."""

    def begin(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Reset."""

    def collect(self, trainer: Trainer, pl_module: LightningModule, outputs: Any) -> None:
        """Keep what is needed of the outputs of a step."""

    def finish(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log or write the collected outputs; called on all ranks."""

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Call `begin`."""
        self.begin(trainer, pl_module)

    def on_validation_batch_end(self, trainer: Trainer, pl_module: LightningModule, outputs: Any, *_: Any) -> None:
        """Call `collect`."""
        self.collect(trainer, pl_module, outputs)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Call `finish`, but for Lightning's sanity check."""
        if not trainer.sanity_checking:
            self.finish(trainer, pl_module)


class HeldOutCallback(ValidationCallback):
    """Also runs in tests."""

    on_test_start = ValidationCallback.on_validation_start
    on_test_batch_end = ValidationCallback.on_validation_batch_end
    on_test_epoch_end = ValidationCallback.on_validation_epoch_end


class EveryNUpdates(Callback):
    """Base of callbacks that look at the first rollout and at those with which a multiple of ``every`` is reached.

    A batch makes several updates, so no step need be a multiple of anything.
    """

    every: int
    """Updates between two calls; 0: never."""
    step_before: int = 0
    """Updates before the batch: those of the policy that sampled its rollout."""

    def show(self, trainer: Trainer, pl_module: LightningModule, experience: Experience) -> None:
        """Look at the rollout of the batch that has just ended, on every rank."""

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Note at which update the rollout is sampled."""
        self.step_before = trainer.global_step

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, outputs: Any, *_: Any) -> None:
        """Call `show` if it is due."""
        experience = experience_of(outputs)
        before, now = self.step_before, trainer.global_step
        if experience is None or not self.every:
            return
        if before == 0 or now // self.every > before // self.every:
            self.show(trainer, pl_module, experience)


@checked
class RolloutWriter(EveryNUpdates, HeldOutCallback):
    """Writes `completions/{rollouts,validate}-STEP.jsonl` and `completions/{test,predict}.jsonl`.

    STEP is the number of updates when the file is written, as in `metrics.csv`. A rollout of a training step was
    sampled before the updates of that step; its records say after how many.

    Args:
        every_n_steps: updates between two files of training rollouts; 0 writes none. The first rollout is always kept.
        num_rows: rows of a training rollout, all with a trace. Validation and test keep all rows.
        num_traces: rows of a validation or test file that have a trace, token by token.
    """

    def __init__(
        self, *, every_n_steps: NonNegativeInt = 40, num_rows: NonNegativeInt = 8, num_traces: NonNegativeInt = 8
    ) -> None:
        self.every = every_n_steps
        self.num_rows = num_rows
        self.num_traces = num_traces
        self._held_out: list[Completion] = []

    def show(self, trainer: Trainer, pl_module: LightningModule, experience: Experience) -> None:
        """Write the first rows of rank 0's shard of a training rollout."""
        if trainer.is_global_zero:
            rows = records_of(
                trainer, pl_module, experience, step=self.step_before, num_rows=self.num_rows, num_traces=self.num_rows
            )
            self._write(trainer, f"rollouts-{trainer.global_step:06d}", rows)

    def begin(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Reset the collected rows."""
        self._held_out = []

    def collect(self, trainer: Trainer, pl_module: LightningModule, outputs: Any) -> None:
        """Keep the rows of a held-out batch."""
        experience = experience_of(outputs)
        if experience is not None:
            left = max(0, self.num_traces - len(self._held_out)) if trainer.is_global_zero else 0
            step = trainer.global_step
            self._held_out += records_of(trainer, pl_module, experience, step=step, num_traces=left)

    def finish(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the rows of all ranks."""
        rows = gather_rows(self._held_out, trainer)
        self._held_out = []
        name = "test" if trainer.testing else "predict" if trainer.predicting else None
        if trainer.is_global_zero and rows:
            self._write(trainer, name or f"validate-{trainer.global_step:06d}", rows)

    on_predict_start = HeldOutCallback.on_validation_start
    on_predict_batch_end = HeldOutCallback.on_validation_batch_end
    on_predict_epoch_end = HeldOutCallback.on_validation_epoch_end

    def _write(self, trainer: Trainer, name: str, rows: list[Completion]) -> None:
        write_jsonl(Path(trainer.default_root_dir) / COMPLETIONS / f"{name}.jsonl", rows)
