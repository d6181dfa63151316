"""TensorBoard samples: responses with macro actions as text and figures, and histograms."""

import itertools
from collections.abc import Sequence
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from matplotlib.figure import Figure
from torch import Tensor

from lightning_marlhf.callbacks.completion_records import records_of
from lightning_marlhf.callbacks.eta import total_updates
from lightning_marlhf.callbacks.rollouts import EveryNUpdates, ValidationCallback, experience_of
from lightning_marlhf.display.macro_lengths import draw_variance_by_length, variance_by_length
from lightning_marlhf.display.rollout_text import facts
from lightning_marlhf.display.style import in_style
from lightning_marlhf.display.text import code_block
from lightning_marlhf.display.trace_picture import draw_trace
from lightning_marlhf.loggers.tensorboard import add_texts, writers_of
from lightning_marlhf.ranges import NonNegativeInt, PositiveInt, checked
from lightning_marlhf.records import Completion, TokenTrace
from lightning_marlhf.types import Experience

BOUNDARY = "│"  # between two macro actions
_TIMES, _LONGEST_INTERVAL = 10, 40  # default number of writes per run, and maximum interval


@checked
class TensorBoardSamples(EveryNUpdates, ValidationCallback):
    """Writes sample responses as text and pictures, and how scores, macro lengths and advantages are distributed.

    All from rank 0's shard of the rollout.

    Args:
        every_n_steps: updates between two writings; null: a tenth of the run, at most 40.
        num_rows: responses in each.
        num_pictures: number of them that are drawn, too.
    """

    def __init__(
        self,
        *,
        every_n_steps: PositiveInt | None = None,
        num_rows: NonNegativeInt = 4,
        num_pictures: NonNegativeInt = 2,
    ) -> None:
        self.every = every_n_steps or _LONGEST_INTERVAL
        self.num_rows = num_rows
        self.num_pictures = num_pictures
        self._is_relative = every_n_steps is None
        self._held_out: list[Tensor] = []

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Derive the interval, if it depends on the length of the run."""
        total = total_updates(trainer, pl_module)
        if self._is_relative and total is not None:
            self.every = min(max(total // _TIMES, 1), _LONGEST_INTERVAL)

    def show(self, trainer: Trainer, pl_module: LightningModule, experience: Experience) -> None:
        """Write the first responses of a rollout, and the distributions of all."""
        writers, now = writers_of(trainer), trainer.global_step
        if not writers:
            return
        rows = records_of(
            trainer, pl_module, experience, step=self.step_before, num_rows=self.num_rows, num_traces=self.num_rows
        )
        add_texts(trainer, "samples", [sample_text(row) for row in rows])
        figures = draw_rollout(experience, rows[: self.num_pictures])
        for writer in writers:
            for name, values in distributions(experience).items():
                if len(values):
                    writer.add_histogram(name, values.float(), now, bins=bins_of(values))
            for name, figure in figures.items():
                writer.add_figure(name, figure, now)

    def begin(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Reset the collected scores."""
        self._held_out = []

    def collect(self, trainer: Trainer, pl_module: LightningModule, outputs: Any) -> None:
        """Keep the scores of held-out prompts."""
        experience = experience_of(outputs)
        if experience is not None:
            self._held_out.append(experience.raw_scores[experience.valid].float())

    def finish(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write their histogram, of the same prompts every time."""
        scores = torch.cat(self._held_out) if self._held_out else torch.empty(0)
        for writer in writers_of(trainer) if len(scores) else ():
            writer.add_histogram("scores/held_out", scores, trainer.global_step)


def sample_text(row: Completion) -> str:
    """Show one response as Markdown.

    Prompt and response stand in indented code blocks, in which nothing is Markdown or HTML; long lines are wrapped.
    """
    text = macro_text(row)
    legend = f" (`{BOUNDARY}` between macro actions)" if BOUNDARY in text else ""
    heading = f"**{' · '.join(facts(row))}**"
    return "\n\n".join([heading, "Prompt", code_block(row.prompt), f"Response{legend}", code_block(text)])


def macro_text(row: Completion) -> str:
    """Join the response's tokens, with a bar between macro actions; without bars if each token is one.

    If there is no trace, it is the plain response.
    """
    if row.trace is None:
        return row.response
    tokens, index = row.trace["tokens"], row.trace["macro_index"]
    if len(set(index)) == len(index):
        return "".join(tokens)
    starts = (now != before for before, now in itertools.pairwise([*index[:1], *index]))
    return "".join(f"{BOUNDARY if start else ''}{token}" for token, start in zip(tokens, starts, strict=True))


def distributions(experience: Experience) -> dict[str, Tensor]:
    """Return the values of the histograms; empty if no row is valid."""
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
    lengths, advantages = macro_lengths_and_advantages(experience)
    with in_style():
        figures = {
            f"samples/response_{n}": draw_trace(
                TokenTrace(**row.trace), title="One response in macro actions", facts=facts(row)
            )
            for n, row in enumerate(rows, start=1)
            if row.num_tokens and row.trace
        }
        figures["macro/advantage_var_by_length"] = draw_variance_by_length(
            variance_by_length(lengths.tolist(), advantages.tolist()), title="Variance of advantages before whitening"
        )
    return figures


def macro_lengths_and_advantages(experience: Experience) -> tuple[Tensor, Tensor]:
    """Return tokens [num] and advantage before whitening [num] of each macro action, valid row after valid row."""
    actions = experience.macro_actions
    rows = torch.arange(len(actions.index), device=actions.index.device).unsqueeze(1)
    of_tokens = (rows * actions.width + actions.index)[experience.token_mask]
    lengths = of_tokens.unique_consecutive(return_counts=True)[1]
    advantages = experience.macro_returns - experience.macro_values
    return lengths.cpu(), advantages[experience.macro_mask].float().cpu()
