"""What TensorBoard shows beside curves: responses with their macro actions, and how the scores are distributed."""

import itertools
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger

from lightning_marlhf.callbacks.completions import experience_to_completions
from lightning_marlhf.callbacks.rollouts import experience_of
from lightning_marlhf.records import Completion

BOUNDARY = "│"  # between two macro actions


class TensorBoardSamples(Callback):
    """Writes sample responses as text, and histograms of scores and advantages.

    Args:
        every_n_steps: updates between two writings.
        num_rows: responses in each.
    """

    def __init__(self, *, every_n_steps: int = 40, num_rows: int = 4) -> None:
        if every_n_steps < 1:
            raise ValueError(f"every_n_steps: expected at least 1, got {every_n_steps}")
        self.every = every_n_steps
        self.num_rows = num_rows
        self._step_before = 0  # the batch

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
        tokenizer = trainer.datamodule.tokenizer  # type: ignore[attr-defined]
        writers = [
            logger.experiment for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)
        ]
        if not writers or not trainer.is_global_zero:
            return
        rows = experience_to_completions(
            experience,
            tokenizer,
            model="",
            seed=0,
            step=before,
            num_rows=self.num_rows,
            num_traces=self.num_rows,
        )
        text = "\n\n---\n\n".join(sample_text(row) for row in rows)
        mask = experience.rollout.response_mask
        for writer in writers:
            writer.add_text("samples", text, now)
            writer.add_histogram("scores/rollout", experience.raw_scores.float(), now)
            writer.add_histogram("advantages/rollout", experience.advantages[mask].float(), now)


def sample_text(row: Completion) -> str:
    """Show one response as Markdown: its numbers, the prompt, and the response cut into macro actions.

    Prompt and response stand in indented code blocks, in which nothing is Markdown or HTML.
    """
    numbers = {**row.scores, "KL": row.kl, "tokens": row.num_tokens}
    said = ", ".join(
        f"{_plain(name)} {value:.4g}" for name, value in numbers.items() if value is not None
    )
    end = "" if row.ended else ", cut off at the limit"
    return f"{said}{end}\n\n{_code(row.prompt)}\n\n{_code(macro_text(row))}"


def macro_text(row: Completion) -> str:
    """Join the response's tokens, with a bar between macro actions; the plain response where there is no trace."""
    if row.trace is None:
        return row.response
    tokens, index = row.trace["tokens"], row.trace["macro_index"]
    starts = (now != before for before, now in itertools.pairwise([*index[:1], *index]))
    return "".join(
        f"{BOUNDARY if start else ''}{token}" for token, start in zip(tokens, starts, strict=True)
    )


def _code(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.splitlines() or [""])


def _plain(name: str) -> str:
    return "".join(c if c.isalnum() else " " for c in name)
