"""Responses on disk, for `inspect`, for reports, and for looking at them."""

from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from lightning_marlhf.callbacks.completions import experience_to_completions
from lightning_marlhf.ranges import NonNegativeInt, checked
from lightning_marlhf.records import Completion, write_jsonl
from lightning_marlhf.run_folder import COMPLETIONS
from lightning_marlhf.types import Experience


@checked
class RolloutWriter(Callback):
    """Writes `completions/{rollouts,validate}-STEP.jsonl` and `completions/test.jsonl`.

    STEP is the number of updates when the file is written, as in `metrics.csv`. A rollout of a training step was
    sampled before the updates of that step; its records say after how many.

    Args:
        every_n_steps: updates between two files of training rollouts; 0 writes none. The first rollout is always kept.
        num_rows: rows of a training rollout, all with a trace. Validation and test keep all rows.
        num_traces: rows of a validation or test file that have a trace, token by token.
    """

    def __init__(
        self,
        *,
        every_n_steps: NonNegativeInt = 40,
        num_rows: NonNegativeInt = 8,
        num_traces: NonNegativeInt = 8,
    ) -> None:
        self.every = every_n_steps
        self.num_rows = num_rows
        self.num_traces = num_traces
        self._step_before = 0  # the batch
        self._held_out: list[Completion] = []

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Remember at which update the rollout is sampled."""
        self._step_before = trainer.global_step

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Write this rollout if a multiple of `every_n_steps` was reached with it."""
        experience = experience_of(outputs)
        if experience is None or not trainer.is_global_zero or not self.every:
            return
        before, now = self._step_before, trainer.global_step
        if before == 0 or now // self.every > before // self.every:
            rows = records_of(
                trainer,
                pl_module,
                experience,
                step=before,
                num_rows=self.num_rows,
                num_traces=self.num_rows,
            )
            write_jsonl(_folder(trainer) / f"rollouts-{now:06d}.jsonl", rows)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin a file."""
        self._held_out = []

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep the rows."""
        self._keep(trainer, pl_module, outputs)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write them."""
        if not trainer.sanity_checking:
            self._write(trainer, f"validate-{trainer.global_step:06d}.jsonl")

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write them."""
        self._write(trainer, "test.jsonl")

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write them."""
        self._write(trainer, "predict.jsonl")

    on_test_start = on_predict_start = on_validation_start
    on_test_batch_end = on_predict_batch_end = on_validation_batch_end

    def _keep(self, trainer: Trainer, pl_module: LightningModule, outputs: Any) -> None:
        experience = experience_of(outputs)
        if experience is not None:
            left = max(0, self.num_traces - len(self._held_out)) if trainer.is_global_zero else 0
            self._held_out += records_of(
                trainer, pl_module, experience, step=trainer.global_step, num_traces=left
            )

    def _write(self, trainer: Trainer, name: str) -> None:
        rows = gather_rows(self._held_out, trainer)
        self._held_out = []
        if trainer.is_global_zero and rows:
            write_jsonl(_folder(trainer) / name, rows)


def records_of(
    trainer: Trainer,
    pl_module: LightningModule,
    experience: Experience,
    *,
    step: int,
    num_rows: int | None = None,
    num_traces: int = 0,
) -> list[Completion]:
    """Turn an experience of a run into records.

    Args:
        trainer: of the run.
        pl_module: its policy; the sampling settings are read from it.
        experience: what a step gave.
        step: optimizer updates of the policy when it answered.
        num_rows: how many rows are taken; None: all.
        num_traces: how many of them keep a trace, token by token.
    """
    return experience_to_completions(
        experience,
        trainer.datamodule.tokenizer,  # type: ignore[attr-defined]
        model=str(trainer.default_root_dir),
        seed=int(getattr(trainer.datamodule, "seed", 0)),  # type: ignore[attr-defined]
        step=step,
        settings=sampling_of(pl_module),
        num_rows=num_rows,
        num_traces=num_traces,
    )


def experience_of(outputs: Any) -> Experience | None:
    """Return the experience in the outputs of a step; None where the step is no rollout."""
    found = outputs.get("experience") if isinstance(outputs, Mapping) else None
    return found if isinstance(found, Experience) else None


def sampling_of(pl_module: LightningModule) -> dict[str, Any]:
    """Return the settings by which a module samples; none where it has none."""
    sampling = getattr(pl_module, "sampling", None)
    known = is_dataclass(sampling) and not isinstance(sampling, type)
    settings = asdict(sampling) if known else {}  # type: ignore[arg-type]
    return {name: value for name, value in settings.items() if value != ()}


def gather_rows(rows: list[Completion], trainer: Trainer) -> list[Completion]:
    """Bring the rows of all ranks together, each sample once (samplers repeat some to fill the last batch).

    Samplers deal rows out in turn; here they are in the order of the data again.
    """
    if trainer.world_size == 1:
        return rows
    parts: list[list[Completion]] = [[] for _ in range(trainer.world_size)]
    torch.distributed.all_gather_object(parts, rows)
    by_id: dict[str, Completion] = {}
    for row in (row for turn in zip_longest(*parts) for row in turn if row is not None):
        by_id.setdefault(row.sample_id, row)
    return list(by_id.values())


def _folder(trainer: Trainer) -> Path:
    return Path(trainer.default_root_dir) / COMPLETIONS
