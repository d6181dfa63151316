"""Supervised fine-tuning: imitate demonstrations."""

import math
import sys
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel

from lightning_marlhf.models.configs import ModelSource
from lightning_marlhf.models.network_factory import NetworkFactory
from lightning_marlhf.models.policy import Policy
from lightning_marlhf.modules.base import TrainingModule
from lightning_marlhf.modules.metrics import WeightedMeans
from lightning_marlhf.ops import losses, masking
from lightning_marlhf.ranges import NonNegative, checked
from lightning_marlhf.types import SupervisedBatch

_LARGEST_EXPONENT = math.log(sys.float_info.max)  # 709.8


@checked
class SFT(TrainingModule):
    """Trains a causal language model on demonstrations.

    Args:
        model: Folder, Hub id, or an inline ``config:`` for random initialisation.
        prompt_weight: Weight of prompt tokens in the loss; 0 learns the response only, 1 is the released code's.
        padding_weight: Weight of padding in the loss; the paper's runs had 1, on rows padded to their limit
            (``data.init_args.pad_to_max_length``), which is a defect.
        **shared: Arguments of `TrainingModule`.
    """

    monitor = "loss/sft"
    stages = ("sft",)

    def __init__(
        self, *, model: ModelSource, prompt_weight: NonNegative = 0.0, padding_weight: NonNegative = 0.0, **shared: Any
    ) -> None:
        super().__init__(**shared)
        self.starts_from = model
        self.prompt_weight = prompt_weight
        self.padding_weight = padding_weight

    def build_networks(self, network_factory: NetworkFactory) -> None:
        """Build the language model."""
        self.policy = network_factory.build(
            Policy, self.starts_from, self.tokenizer, dtype=self.load_dtype, seed=self.seed, lora=self.lora
        )

    def networks(self) -> dict[str, nn.Module]:
        """Return the trained network by name."""
        return {"policy": self.policy}

    def training_step(self, batch: SupervisedBatch, batch_idx: int) -> None:
        """Make one update from one batch."""
        total = self.per_rank_denominator(self._weights(batch).sum())
        means = WeightedMeans()
        for part in batch.micro_batches(self.micro_batch_size):
            part = part if self.padding_weight else part.trimmed()
            weights = self._weights(part)
            terms = self._terms(part, weights)
            self.manual_backward(masking.reduce_mean(terms, weights > 0, reduction="token", total=total))
            means.add("loss/sft", terms, part.response_mask[:, 1:])
        self.update(means)
        self.log_metrics(self.mean_over_ranks(means) | self.skipped.metrics())

    def validation_step(self, batch: SupervisedBatch, batch_idx: int) -> None:
        """Measure the loss on responses."""
        for part, valid in self.held_out_micro_batches(batch, batch_idx):
            part = part.trimmed()
            mask = part.response_mask[:, 1:]
            terms = self._terms(part, mask.float())
            self._evaluation.add("eval/loss", terms[valid], mask[valid])

    def on_validation_epoch_end(self) -> None:
        """Log the loss per response token, and the perplexity: infinite if a float cannot hold it."""
        metrics = self.mean_over_ranks(self._evaluation)
        loss = metrics["eval/loss"]
        perplexity = math.inf if loss > _LARGEST_EXPONENT else math.exp(loss)
        self.log_metrics(metrics | {"eval/perplexity": perplexity})

    def exported(self) -> tuple[PreTrainedModel, str]:
        """Return the language model."""
        return self.policy.lm, "policy.lm."

    def dry_run_loss(self, input_ids: Tensor, mask: Tensor) -> Tensor:
        """Compute the loss of one pass of the largest shape."""
        batch = SupervisedBatch(
            input_ids=input_ids, attention_mask=mask, response_mask=mask, lengths=(mask.shape[1],) * len(mask)
        )
        return self._terms(batch, mask[:, 1:].float()).sum()

    def _weights(self, batch: SupervisedBatch) -> Tensor:
        return losses.sft_weights(
            batch.response_mask[:, 1:],
            batch.attention_mask[:, 1:],
            prompt_weight=self.prompt_weight,
            padding_weight=self.padding_weight,
        )

    def _terms(self, batch: SupervisedBatch, weights: Tensor) -> Tensor:
        output = self.policy(
            batch.input_ids,
            batch.attention_mask,
            num_targets=batch.input_ids.shape[1] - 1,
            temperature=1.0,
            with_entropy=False,
        )
        return losses.sft_terms(output.logprobs, weights)
