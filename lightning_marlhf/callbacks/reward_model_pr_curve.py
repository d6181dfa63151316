"""How far a reward model can be trusted when it is sure: the precision-recall curve of its judgements."""

from collections.abc import Mapping
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from lightning_marlhf.callbacks.tensorboard import writers_of

TAG = "reward_model/first_is_better"


class RewardModelPRCurve(Callback):
    """Writes a precision-recall curve to TensorBoard at each validation and test of a reward model.

    Each held-out pair is judged in both orders, and the question is "is the first answer the better one?". Positives
    are the orders in which people's choice stands first: half of all, whatever the data's order, so that a judge who
    knows nothing has precision 0.5. (In the order chosen, rejected alone all would be positive, and the precision 1.)
    P(first is better) = sigmoid(its score - the other's), so at the threshold 0.5 precision and recall are both the
    accuracy (but for equal scores, a yes in both orders); above it, precision is the accuracy of the judgements that
    are this sure.
    A text beside it says how much the labels themselves are worth, where the data knows it.
    """

    def __init__(self) -> None:
        self._margins: list[Tensor] = []
        self._agreement: list[Tensor] = []

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin to collect."""
        self._margins, self._agreement = [], []

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep what a step says of its pairs: `margins` and `agreement`."""
        if isinstance(outputs, Mapping) and "margins" in outputs:
            self._margins.append(outputs["margins"].float().cpu())
            self._agreement.append(outputs["agreement"].float().cpu())

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the curve over the pairs of all ranks."""
        if not self._margins or trainer.sanity_checking:
            return
        margins = _gather(torch.cat(self._margins), trainer)
        agreement = _gather(torch.cat(self._agreement), trainer)
        labels, predictions = in_both_orders(margins)
        tag = f"{TAG}/{'test' if trainer.testing else 'validate'}"
        for writer in writers_of(trainer):
            writer.add_pr_curve(tag, labels, predictions, trainer.global_step)
            writer.add_histogram(f"{tag}/margins", margins, trainer.global_step)
            writer.add_text(tag, explain(margins, agreement), trainer.global_step)

    on_test_start = on_validation_start
    on_test_batch_end = on_validation_batch_end
    on_test_end = on_validation_end


def in_both_orders(margins: Tensor) -> tuple[Tensor, Tensor]:
    """Return labels [2 num] and predictions [2 num] of "the first is better", for pairs in both orders.

    Args:
        margins: [num], by how much the chosen answer scores higher.
    """
    chosen_first = torch.ones_like(margins, dtype=torch.bool)
    return torch.cat([chosen_first, ~chosen_first]), torch.cat([margins, -margins]).sigmoid()


def explain(margins: Tensor, agreement: Tensor) -> str:
    """Say in Markdown how the curve is to be read, and what its labels are worth."""
    num, ties = len(margins), int((margins == 0).sum())
    accuracy = (margins > 0).float().mean().item()
    known = agreement[~agreement.isnan()]
    lines = [
        f"{num:,} held-out pairs, each in both orders: is the first answer the better one? Half the labels are yes.",
        f"At the threshold 0.5 precision and recall are the accuracy, {accuracy:.1%}, but for pairs of equal scores "
        f"({ties:,}), which are a yes in both orders. Precision above it: of the judgements that are this sure.",
    ]
    if len(known):
        coins = int((known <= 0.5).sum())
        lines.append(
            f"A perfect judge would agree with {known.mean():.1%} of the labels; the labels of {coins:,} are the toss "
            "of a coin, since the true scores are equal."
        )
    else:
        lines.append("How often a perfect judge would agree with the labels is not known.")
    return "\n\n".join(lines)


def _gather(values: Tensor, trainer: Trainer) -> Tensor:
    """Bring together the values of all ranks, which may have different numbers of them."""
    if trainer.world_size == 1:
        return values
    parts: list[Tensor] = [values] * trainer.world_size
    torch.distributed.all_gather_object(parts, values)
    return torch.cat(parts)
