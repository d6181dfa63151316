"""Reward modelling: Bradley-Terry on preference pairs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from lightning_marlhf.models.configs import ModelSource
from lightning_marlhf.models.heads import RewardNetwork
from lightning_marlhf.models.network_factory import NetworkFactory
from lightning_marlhf.models.sharded_checkpoint import ShardedWeights
from lightning_marlhf.modules.base import TrainingModule
from lightning_marlhf.modules.metrics import WeightedMeans
from lightning_marlhf.ops import losses
from lightning_marlhf.ranges import NonNegativeInt, PositiveInt, checked
from lightning_marlhf.types import PreferencePairs


@checked
class RewardModel(TrainingModule):
    """Trains a one-label sequence classifier by Bradley-Terry on preference pairs.

    Args:
        model: Folder or Hub id (a language model gets a new head), or an inline ``config:``.
        loss: "last" compares the scores of the last tokens (paper); "tokens" those of all tokens from the first that
            differs (DeepSpeed-Chat, which the released code uses).
        center_rows: Number of demonstrations whose mean score becomes 0 when training ends; 0 leaves the scores as
            they are.
        micro_batch_size: Pairs per forward and backward pass. Memory grows with it; results do not change.
        **shared: Arguments of `TrainingModule`.
    """

    monitor = "reward_model/accuracy"
    stages = ("reward_model",)

    def __init__(
        self,
        *,
        model: ModelSource,
        loss: Literal["last", "tokens"] = "last",
        center_rows: NonNegativeInt = 256,
        micro_batch_size: PositiveInt = 32,
        **shared: Any,
    ) -> None:
        super().__init__(micro_batch_size=micro_batch_size, **shared)
        self.starts_from = model
        self.loss = loss
        self.center_rows = center_rows

    def build_networks(self, network_factory: NetworkFactory) -> None:
        """Build the classifier."""
        self.network = network_factory.build(
            RewardNetwork, self.starts_from, self.tokenizer, dtype=self.load_dtype, seed=self.seed, lora=self.lora
        )

    def networks(self) -> dict[str, nn.Module]:
        """Return the trained network by name."""
        return {"reward_model": self.network}

    def training_step(self, batch: PreferencePairs, batch_idx: int) -> None:
        """Make one update from one batch of pairs."""
        pairs = torch.tensor(float(len(batch)), device=self.device)
        total = self.per_rank_denominator(pairs)
        means = WeightedMeans()
        for part in batch.micro_batches(self.micro_batch_size):
            terms, margins = self._compare(part.trimmed())
            self.manual_backward(terms.sum() / total)
            means.add("loss/reward_model", terms)
            means.add("reward_model/accuracy", margins > 0)
            means.add("reward_model/margin", margins)
        self.update(means)
        self.log_metrics(self.mean_over_ranks(means) | self.skipped.metrics())

    def validation_step(self, batch: PreferencePairs, batch_idx: int) -> dict[str, Tensor]:
        """Measure loss and accuracy, and the accuracy of a perfect judge if the data knows it.

        Returns:
            Each pair's margin, and the probability that a perfect judge agrees with its label.
        """
        all_margins = []
        for part, valid in self.held_out_micro_batches(batch, batch_idx):
            terms, margins = self._compare(part.trimmed())
            self._evaluation.add("eval/loss", terms[valid])
            self._evaluation.add("eval/accuracy", margins[valid] > 0)
            self._evaluation.add("eval/margin", margins[valid])
            all_margins.append(margins[valid])
        best = batch.agreement[: self.num_valid_rows(batch_idx)]
        self._evaluation.add("eval/best_possible_accuracy", best.nan_to_num(), ~best.isnan())
        return {"margins": torch.cat(all_margins), "agreement": best}

    @torch.no_grad()
    def center(self) -> None:
        """Shift the scores so that demonstrations score 0 on average (Stiennon et al., 2020)."""
        if not self.center_rows:
            return
        demonstrations = self.data.demonstrations(self.center_rows).to(self.device)
        parts = (part.trimmed() for part in demonstrations.micro_batches(self.micro_batch_size))
        scores = [self.network(part.input_ids, part.attention_mask) for part in parts]
        self.network.reward_offset += torch.cat(scores).mean().item()

    @property
    def streams_export(self) -> bool:
        """Whether the checkpoint can be exported tensor by tensor; centring needs the network."""
        return super().streams_export and not self.center_rows

    def export(self, folder: Path, *, card: Mapping[str, Any], weights: ShardedWeights | None = None) -> None:
        """Centre the scores, and write the classifier as a Hugging Face folder that records its input format."""
        self.center()
        self.data.reward_input.write(self.network.classifier.config)
        super().export(folder, card=card, weights=weights)

    def exported(self) -> tuple[PreTrainedModel, str]:
        """Return the classifier."""
        return self.network.classifier, "network.classifier."

    def dry_run_loss(self, input_ids: Tensor, mask: Tensor) -> Tensor:
        """Compute the loss of one pass of the largest shape."""
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
        """Compute each pair's loss term and margin."""
        ids = torch.cat([pairs.chosen_ids, pairs.rejected_ids])
        mask = torch.cat([pairs.chosen_mask, pairs.rejected_mask])
        if self.loss == "last":
            chosen, rejected = self.network(ids, mask).chunk(2)
            return losses.reward_ranking_terms(chosen, rejected), chosen - rejected
        chosen, rejected = self.network.token_rewards(ids, mask).chunk(2)
        terms = losses.reward_ranking_token_terms(
            chosen, rejected, pairs.chosen_ids, pairs.rejected_ids, pairs.chosen_mask, pairs.rejected_mask
        )
        last = (_last(chosen, pairs.chosen_mask), _last(rejected, pairs.rejected_mask))
        return terms, last[0] - last[1]


def _last(rewards: Tensor, mask: Tensor) -> Tensor:
    """Read each row's reward at its last real token; rows are right-padded."""
    return rewards.gather(1, mask.sum(dim=1, keepdim=True) - 1).squeeze(1)
