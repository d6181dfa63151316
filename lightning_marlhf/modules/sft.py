"""Supervised fine-tuning: imitate demonstrations."""

import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from lightning_marlhf.models.backbone import ModelSource
from lightning_marlhf.models.lora import LoRA
from lightning_marlhf.models.sharded_checkpoint import ShardedWeights
from lightning_marlhf.modules.averages import WeightedMeans
from lightning_marlhf.modules.base import TrainingModule
from lightning_marlhf.modules.optimization import Optimization
from lightning_marlhf.ops import losses, masking
from lightning_marlhf.ranges import NonNegative, PositiveInt, checked
from lightning_marlhf.types import SupervisedBatch

_LARGEST_EXPONENT = math.log(sys.float_info.max)  # 709.8


@checked
class SFT(TrainingModule):
    """Trains a causal language model on demonstrations.

    Args:
        model: folder, Hub id, or an inline ``config:`` for random initialisation.
        optimization: how weights are updated.
        prompt_weight: of prompt tokens in the loss; 0 learns the response only, 1 is the released code's.
        padding_weight: of padding in the loss; the paper's runs had 1, on rows padded to their limit
            (``data.init_args.pad_to_max_length``), which is a defect.
        micro_batch_size: rows per forward and backward pass; memory grows with it, results do not change (in half
            precision by the rounding of each pass's gradients, about 0.2 %).
        checkpoint_activations: less memory, more time, the same results: layers run again in the backward pass.
        lora: adapters learn, beside frozen weights; null: all weights learn.
        dtype: of the weights.
        seed: of the random initialisation of an inline ``config:``.
    """

    monitor = "loss/sft"
    stages = ("sft",)

    def __init__(
        self,
        *,
        model: ModelSource,
        optimization: Optimization,
        prompt_weight: NonNegative = 0.0,
        padding_weight: NonNegative = 0.0,
        micro_batch_size: PositiveInt = 64,
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
        self.prompt_weight = prompt_weight
        self.padding_weight = padding_weight
        self.load_dtype = dtype
        self.seed = seed

    def configure_model(self) -> None:
        """Load the model, once."""
        if not hasattr(self, "policy"):
            self.policy = self.placement.policy(
                self.model, self.tokenizer, dtype=self.load_dtype, seed=self.seed, lora=self.lora
            )

    def networks(self) -> dict[str, tuple[nn.Module, float]]:
        """Name the one network that learns."""
        return {"policy": (self.policy, self.optimization.lr)}

    def training_step(self, batch: SupervisedBatch, batch_idx: int) -> None:
        """Make one update from one batch."""
        total = self.share(self._weights(batch).sum())
        means = WeightedMeans()
        for rows in self.passes(len(batch)):
            part = batch.rows(rows) if self.padding_weight else batch.rows(rows).trimmed()
            weights = self._weights(part)
            terms = self._terms(part, weights)
            self.manual_backward(
                masking.reduce_mean(terms, weights > 0, reduction="token", total=total)
            )
            means.add("loss/sft", terms, part.response_mask[:, 1:])
        self.update(means)
        self.log_metrics(means.compute(self.all_reduce_sum) | self.skipped.metrics())

    def on_validation_epoch_start(self) -> None:
        """Start to collect the evaluation's means."""
        self._evaluation = WeightedMeans()

    def validation_step(self, batch: SupervisedBatch, batch_idx: int) -> None:
        """Measure the loss on responses."""
        counted = self.counted(batch_idx)
        for rows in self.passes(len(batch)):
            part = batch.rows(rows).trimmed()
            mask = part.response_mask[:, 1:]
            terms = self._terms(part, mask.float())
            kept = slice(max(0, counted - rows.start))
            self._evaluation.add("eval/loss", terms[kept], mask[kept])

    def on_validation_epoch_end(self) -> None:
        """Log the loss per response token, and the perplexity: infinite where it is more than a float can hold."""
        metrics = self._evaluation.compute(self.all_reduce_sum)
        loss = metrics["eval/loss"]
        perplexity = math.inf if loss > _LARGEST_EXPONENT else math.exp(loss)
        self.log_metrics(metrics | {"eval/perplexity": perplexity})

    on_test_epoch_start = on_validation_epoch_start
    test_step = validation_step
    on_test_epoch_end = on_validation_epoch_end

    def export(
        self, folder: Path, *, card: Mapping[str, Any], weights: ShardedWeights | None = None
    ) -> None:
        """Write the language model as a Hugging Face folder."""
        self.write_export(self.policy.lm, "policy.lm.", folder, card=card, weights=weights)

    def dry_run_loss(self, input_ids: Tensor, mask: Tensor) -> Tensor:
        """Take the loss of one pass of the largest shape."""
        batch = SupervisedBatch(
            input_ids=input_ids,
            attention_mask=mask,
            response_mask=mask,
            lengths=(mask.shape[1],) * len(mask),
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
