"""What TensorBoard shows beside curves: responses with their macro actions, and how their numbers are distributed."""

from collections.abc import Sequence
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from matplotlib.figure import Figure
from torch import Tensor

from lightning_marlhf.callbacks.completions import experience_to_completions
from lightning_marlhf.callbacks.rollouts import experience_of
from lightning_marlhf.callbacks.sample_text import facts, sample_text
from lightning_marlhf.callbacks.tensorboard import writers_of
from lightning_marlhf.display.macro_lengths import draw_variance_by_length, variance_by_length
from lightning_marlhf.display.style import in_style
from lightning_marlhf.display.trace_picture import draw_trace
from lightning_marlhf.ranges import NonNegativeInt, PositiveInt, checked
from lightning_marlhf.records import Completion, TokenTrace
from lightning_marlhf.types import Experience


@checked
class TensorBoardSamples(Callback):
    """Writes sample responses as text and pictures, and how scores, macro lengths and advantages are distributed.

    All of it is of rank 0's share of the rollout.

    Args:
        every_n_steps: updates between two writings.
        num_rows: responses in each.
        num_pictures: how many of them are drawn, too.
    """

    def __init__(
        self,
        *,
        every_n_steps: PositiveInt = 40,
        num_rows: NonNegativeInt = 4,
        num_pictures: NonNegativeInt = 2,
    ) -> None:
        self.every = every_n_steps
        self.num_rows = num_rows
        self.num_pictures = num_pictures
        self._step_before = 0  # the batch
        self._held_out: list[Tensor] = []

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Remember at which update the rollout is sampled."""
        self._step_before = trainer.global_step

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Write if a multiple of `every_n_steps` was reached, and at the first batch."""
        experience = experience_of(outputs)
        before, now = self._step_before, trainer.global_step
        if experience is None or not (before == 0 or now // self.every > before // self.every):
            return
        writers = writers_of(trainer)
        if not writers:
            return
        rows = experience_to_completions(
            experience,
            trainer.datamodule.tokenizer,  # type: ignore[attr-defined]
            model="",
            seed=0,
            step=before,
            num_rows=self.num_rows,
            num_traces=self.num_rows,
        )
        text = "\n\n---\n\n".join(sample_text(row) for row in rows)
        figures = draw_rollout(experience, rows[: self.num_pictures])
        for writer in writers:
            writer.add_text("samples", text, now)
            for name, values in distributions(experience).items():
                if len(values):
                    writer.add_histogram(name, values.float(), now, bins=bins_of(values))
            for name, figure in figures.items():
                writer.add_figure(name, figure, now)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin to collect scores."""
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
        """Keep the scores of held-out prompts."""
        experience = experience_of(outputs)
        if experience is not None:
            self._held_out.append(experience.raw_scores[experience.valid].float())

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write their histogram, of the same prompts every time."""
        if self._held_out and not trainer.sanity_checking:
            scores = torch.cat(self._held_out)
            for writer in writers_of(trainer) if len(scores) else ():
                writer.add_histogram("scores/held_out", scores, trainer.global_step)


def distributions(experience: Experience) -> dict[str, Tensor]:
    """Return what histograms are made of; without values where no response teaches anything."""
    return {
        "scores/rollout": experience.raw_scores[experience.valid],
        "advantages/rollout": experience.advantages[experience.token_mask],
        "macro/lengths": macro_lengths_and_advantages(experience)[0],
    }


def bins_of(values: Tensor) -> str | list[float]:
    """Return a bin for each whole number up to the largest; for other numbers, the name of TensorBoard's own bins."""
    if values.is_floating_point():
        return "tensorflow"
    return [edge - 0.5 for edge in range(int(values.max()) + 2)]


def draw_rollout(experience: Experience, rows: Sequence[Completion]) -> dict[str, Figure]:
    """Draw the responses of ``rows`` that have a token, and how far advantages spread at each macro length."""
    figures = {
        f"samples/response_{n}": draw_sample(row)
        for n, row in enumerate(rows, start=1)
        if row.num_tokens
    }
    lengths, advantages = macro_lengths_and_advantages(experience)
    with in_style():
        figures["macro/advantage_var_by_length"] = draw_variance_by_length(
            variance_by_length(lengths.tolist(), advantages.tolist()),
            title="Variance of advantages before whitening",
        )
    return figures


def draw_sample(row: Completion) -> Figure:
    """Draw a response that has a trace."""
    assert row.trace is not None
    with in_style():
        return draw_trace(
            TokenTrace(**row.trace), title="One response in macro actions", facts=facts(row)
        )


def macro_lengths_and_advantages(experience: Experience) -> tuple[Tensor, Tensor]:
    """Return tokens [num] and advantage before whitening [num] of each macro action, valid row after valid row."""
    actions = experience.macro_actions
    rows = torch.arange(len(actions.index), device=actions.index.device).unsqueeze(1)
    of_tokens = (rows * actions.width + actions.index)[experience.token_mask]
    lengths = of_tokens.unique_consecutive(return_counts=True)[1]
    advantages = experience.macro_returns - experience.macro_values
    return lengths.cpu(), advantages[experience.macro_mask].float().cpu()
