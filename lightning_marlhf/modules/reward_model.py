"""Reward modelling: learn from pairs which answer people prefer."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from lightning_marlhf.models.backbone import ModelSource
from lightning_marlhf.models.lora import LoRA
from lightning_marlhf.models.sharded_checkpoint import ShardedWeights
from lightning_marlhf.modules.averages import WeightedMeans
from lightning_marlhf.modules.base import TrainingModule
from lightning_marlhf.modules.optimization import Optimization
from lightning_marlhf.ops import losses
from lightning_marlhf.ranges import NonNegativeInt, PositiveInt, checked
from lightning_marlhf.types import PreferencePairs, SupervisedBatch


@checked
class RewardModel(TrainingModule):
    """Trains a one-label sequence classifier by Bradley-Terry on preference pairs.

    Args:
        model: folder or Hub id (a language model gets a new head), or an inline ``config:``.
        optimization: how weights are updated.
        loss: "last" compares the scores of the last tokens (paper); "tokens" those of all tokens from the first that
            differs (DeepSpeed-Chat, which the released code uses).
        center_rows: demonstrations whose mean score becomes 0 when training ends; 0 leaves the scores as they are.
        micro_batch_size: pairs per forward and backward pass; memory grows with it, results do not change (in half
            precision by the rounding of each pass's gradients, about 0.2 %).
        checkpoint_activations: less memory, more time, the same results: layers run again in the backward pass.
        lora: adapters learn, beside frozen weights; null: all weights learn.
        dtype: of the weights.
        seed: of the new head, and of the random initialisation of an inline ``config:``.
    """

    monitor = "reward_model/accuracy"
    stages = ("reward_model",)

    def __init__(
        self,
        *,
        model: ModelSource,
        optimization: Optimization,
        loss: Literal["last", "tokens"] = "last",
        center_rows: NonNegativeInt = 256,
        micro_batch_size: PositiveInt = 32,
        checkpoint_activations: bool = False,
        lora: LoRA | None = None,
        dtype: str = "float32",
        seed: int = 1,
    ) -> None:
        super().__init__(
            optimization=optimization,
            micro_batch_size=micro_batch_size,
            checkpoint_activations=checkpoint_activations,
            lora=lora,
            starts_from=model,
        )
        self.model = model
        self.loss = loss
        self.center_rows = center_rows
        self.load_dtype = dtype
        self.seed = seed

    def configure_model(self) -> None:
        """Load the model, once."""
        if not hasattr(self, "network"):
            self.network = self.placement.reward_network(
                self.model, self.tokenizer, dtype=self.load_dtype, seed=self.seed, lora=self.lora
            )

    def networks(self) -> dict[str, tuple[nn.Module, float]]:
        """Name the one network that learns."""
        return {"reward_model": (self.network, self.optimization.lr)}

    def training_step(self, batch: PreferencePairs, batch_idx: int) -> None:
        """Make one update from one batch of pairs."""
        total = self.share(torch.tensor(float(len(batch)), device=self.device))
        means = WeightedMeans()
        for rows in self.passes(len(batch)):
            terms, margins = self._compare(batch.rows(rows).trimmed())
            self.manual_backward(terms.sum() / total)
            means.add("loss/reward_model", terms)
            means.add("reward_model/accuracy", margins > 0)
            means.add("reward_model/margin", margins)
        self.update(means)
        self.log_metrics(means.compute(self.all_reduce_sum) | self.skipped.metrics())

    def on_validation_epoch_start(self) -> None:
        """Start to collect the evaluation's means."""
        self._evaluation = WeightedMeans()

    def validation_step(self, batch: PreferencePairs, batch_idx: int) -> dict[str, Tensor]:
        """Measure loss and accuracy, and the accuracy of a perfect judge where the data knows it.

        Returns:
            By how much each pair's chosen answer scores higher, and what its label is worth.
        """
        counted, all_margins = self.counted(batch_idx), []
        for rows in self.passes(len(batch)):
            terms, margins = self._compare(batch.rows(rows).trimmed())
            kept = slice(max(0, counted - rows.start))
            self._evaluation.add("eval/loss", terms[kept])
            self._evaluation.add("eval/accuracy", margins[kept] > 0)
            self._evaluation.add("eval/margin", margins[kept])
            all_margins.append(margins[kept])
        best = batch.agreement[:counted]
        self._evaluation.add("eval/best_possible_accuracy", best.nan_to_num(), ~best.isnan())
        return {"margins": torch.cat(all_margins), "agreement": best}

    def on_validation_epoch_end(self) -> None:
        """Log what was collected."""
        self.log_metrics(self._evaluation.compute(self.all_reduce_sum))

    on_test_epoch_start = on_validation_epoch_start
    test_step = validation_step
    on_test_epoch_end = on_validation_epoch_end

    @torch.no_grad()
    def center(self) -> None:
        """Shift the scores so that demonstrations score 0 on average (Stiennon et al., 2020)."""
        if not self.center_rows:
            return
        demonstrations = self.trainer.datamodule.demonstrations(self.center_rows)  # type: ignore[attr-defined]
        batch: SupervisedBatch = demonstrations.to(self.device)
        parts = (batch.rows(rows).trimmed() for rows in self.passes(len(batch)))
        scores = [self.network(part.input_ids, part.attention_mask) for part in parts]
        self.network.reward_offset += torch.cat(scores).mean().item()

    @property
    def streams_export(self) -> bool:
        """Centring needs the network."""
        return super().streams_export and not self.center_rows

    def export(
        self, folder: Path, *, card: Mapping[str, Any], weights: ShardedWeights | None = None
    ) -> None:
        """Centre the scores, and write the classifier as a Hugging Face folder that tells what it was shown."""
        self.center()
        model = self.network.classifier
        self.trainer.datamodule.reward_input.write(model.config)  # type: ignore[attr-defined]
        self.write_export(model, "network.classifier.", folder, card=card, weights=weights)

    def dry_run_loss(self, input_ids: Tensor, mask: Tensor) -> Tensor:
        """Take the loss of one pass of the largest shape."""
        pairs = PreferencePairs(
            chosen_ids=input_ids,
            chosen_mask=mask,
            rejected_ids=input_ids,
            rejected_mask=mask,
            agreement=torch.ones(len(mask), device=mask.device),
            lengths=(mask.shape[1],) * len(mask),
        )
        return self._compare(pairs)[0].sum()

    def _compare(self, pairs: PreferencePairs) -> tuple[Tensor, Tensor]:
        """Give each pair's loss term, and by how much its chosen answer scores higher."""
        ids = torch.cat([pairs.chosen_ids, pairs.rejected_ids])
        mask = torch.cat([pairs.chosen_mask, pairs.rejected_mask])
        if self.loss == "last":
            chosen, rejected = self.network(ids, mask).chunk(2)
            return losses.reward_ranking_terms(chosen, rejected), chosen - rejected
        chosen, rejected = self.network.token_rewards(ids, mask).chunk(2)
        terms = losses.reward_ranking_token_terms(
            chosen,
            rejected,
            pairs.chosen_ids,
            pairs.rejected_ids,
            pairs.chosen_mask,
            pairs.rejected_mask,
        )
        last = (_last(chosen, pairs.chosen_mask), _last(rejected, pairs.rejected_mask))
        return terms, last[0] - last[1]


def _last(rewards: Tensor, mask: Tensor) -> Tensor:
    """Read each row's reward at its last real token; rows are right-padded."""
    return rewards.gather(1, mask.sum(dim=1, keepdim=True) - 1).squeeze(1)
