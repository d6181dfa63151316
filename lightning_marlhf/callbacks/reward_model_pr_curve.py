"""Precision-recall curve of a reward model on held-out preference pairs."""

from collections.abc import Mapping
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from lightning_marlhf.callbacks.ranks import gather_objects
from lightning_marlhf.callbacks.rollouts import HeldOutCallback
from lightning_marlhf.loggers.tensorboard import writers_of

TAG = "reward_model/first_is_better"


class RewardModelPRCurve(HeldOutCallback):
    """Writes a precision-recall curve to TensorBoard at each validation and test of a reward model.

    Each held-out pair is judged in both orders, and the question is "is the first response the better one?". Positives
    are the orders in which people's choice stands first: half of all, whatever the data's order, so that random
    guessing has precision 0.5. (In the order chosen, rejected alone all would be positive, and the precision 1.)
    P(first is better) = sigmoid(its score - the other's), so at the threshold 0.5 precision and recall are both the
    accuracy (but for equal scores, a yes in both orders); above it, precision is the accuracy of the pairs with
    that confidence.
    A text panel gives the accuracy ceiling, if the data has it.
    """

    def __init__(self) -> None:
        self._batches: list[tuple[Tensor, Tensor]] = []

    def begin(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Reset."""
        self._batches = []

    def collect(self, trainer: Trainer, pl_module: LightningModule, outputs: Any) -> None:
        """Keep what a step returns of its pairs: `margins` and `agreement`."""
        if isinstance(outputs, Mapping) and "margins" in outputs:
            margins, agreement = (outputs[name].float().cpu() for name in ("margins", "agreement"))
            self._batches.append((margins, agreement))

    def finish(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the curve over the pairs of all ranks, which may have different numbers of them."""
        pairs = [batch for part in gather_objects(trainer, self._batches) for batch in part]
        if not pairs:
            return
        margins, agreement = (torch.cat(column) for column in zip(*pairs, strict=True))
        labels, predictions = in_both_orders(margins)
        tag = f"{TAG}/{'test' if trainer.testing else 'validate'}"
        for writer in writers_of(trainer):
            writer.add_pr_curve(tag, labels, predictions, trainer.global_step)
            writer.add_histogram(f"{tag}/margins", margins, trainer.global_step)
            writer.add_text(tag, explain(margins, agreement), trainer.global_step)


def in_both_orders(margins: Tensor) -> tuple[Tensor, Tensor]:
    """Return labels [2 num] and predictions [2 num] of "the first is better", for pairs in both orders.

    Args:
        margins: score of the chosen response minus that of the rejected one [num].
    """
    chosen_first = torch.ones_like(margins, dtype=torch.bool)
    return torch.cat([chosen_first, ~chosen_first]), torch.cat([margins, -margins]).sigmoid()


def explain(margins: Tensor, agreement: Tensor) -> str:
    """Explain in Markdown how the curve is read, and how accurate a perfect judge would be.

    Args:
        margins: score of the chosen response minus that of the rejected one [num].
        agreement: probability that a perfect judge agrees with the label [num]; NaN if it is not known.
    """
    num, ties = len(margins), int((margins == 0).sum())
    accuracy = (margins > 0).float().mean().item()
    known = agreement[~agreement.isnan()]
    lines = [
        f"{num:,} held-out pairs, each in both orders: is the first response the better one? Half the labels are yes.",
        f"At the threshold 0.5 precision and recall are the accuracy, {accuracy:.1%}, but for pairs of equal scores "
        f"({ties:,}), which are a yes in both orders. Precision above it: of the judgements that are this sure.",
    ]
    if len(known):
        equal = int((known <= 0.5).sum())
        lines.append(
            f"A perfect judge would agree with {known.mean():.1%} of the labels; {equal:,} pairs have equal true "
            "scores."
        )
    else:
        lines.append("The accuracy of a perfect judge on these labels is not known.")
    return "\n\n".join(lines)
