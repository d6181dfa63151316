"""The base LightningModule of SFT, reward model and MA-PPO: networks, data, evaluation, export, checkpoints.

How weights are updated is in `updates.py`.
"""

import random
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from lightning_marlhf.models.backbone import context_length
from lightning_marlhf.models.configs import ModelSource
from lightning_marlhf.models.fsdp import language_model
from lightning_marlhf.models.hf_export import export
from lightning_marlhf.models.lora import LoRA
from lightning_marlhf.models.network_factory import NetworkFactory
from lightning_marlhf.models.sharded_checkpoint import ShardedWeights
from lightning_marlhf.models.streaming import weights_in
from lightning_marlhf.modules.data_protocol import data_of
from lightning_marlhf.modules.manual_optimization import Skipped, UpdatingModule
from lightning_marlhf.modules.metrics import WeightedMeans
from lightning_marlhf.modules.optimization import Optimization
from lightning_marlhf.modules.precision import check_precision
from lightning_marlhf.modules.sharded_strategy import ShardedStrategy
from lightning_marlhf.ranges import PositiveInt, checked
from lightning_marlhf.types import TensorBatch

Batch = TypeVar("Batch", bound=TensorBatch)


@checked
class TrainingModule(UpdatingModule):
    """Base of one RLHF stage; a subclass builds the networks and defines the steps.

    Args:
        optimization: How weights are updated.
        micro_batch_size: Rows per forward and backward pass. Memory grows with it; results do not change (in half
            precision by the rounding of each pass's gradients, about 0.2 %).
        checkpoint_activations: Keep only the input of each layer, and run the layer again in the backward pass: less
            memory, a third more time, the same results.
        lora: Train low-rank adapters on frozen weights; null trains all weights. The reference of MA-PPO is then
            the policy without its adapter, and needs no extra memory.
        dtype: Dtype of the weights.
        seed: Seed of new heads and adapters, and of the random initialisation of an inline ``config:``; in MA-PPO also
            of sampling, and of the minibatch order.
    """

    monitor: str
    """The metric that matters; shown in the progress line."""
    stages: tuple[str, ...] = ()
    """Allowed values of `data.init_args.stage`; empty allows any."""
    starts_from: ModelSource
    """Initial weights of the exported network."""

    def __init__(
        self,
        *,
        optimization: Optimization,
        micro_batch_size: PositiveInt = 64,
        checkpoint_activations: bool = False,
        lora: LoRA | None = None,
        dtype: str = "float32",
        seed: int = 1,
    ) -> None:
        super().__init__(optimization=optimization)
        self.micro_batch_size = micro_batch_size
        self.checkpoint_activations = checkpoint_activations
        self.lora = lora
        self.load_dtype = dtype
        self.seed = seed
        self.strict_loading = lora is None  # checkpoints hold trained weights only
        self._is_built = False
        self._random_state: dict[str, Any] | None = None

    @abstractmethod
    def build_networks(self, network_factory: NetworkFactory) -> None:
        """Load or initialise the trained networks; `data` is set by now."""

    @abstractmethod
    def exported(self) -> tuple[PreTrainedModel, str]:
        """Return the model that is exported, and the prefix of its weights in checkpoints."""

    @abstractmethod
    def dry_run_loss(self, input_ids: Tensor, mask: Tensor) -> Tensor:
        """Compute a loss of rows [batch, sequence] of the largest shape, through every network that learns."""

    def describe(self) -> dict[str, str]:
        """Summarise the run for the start banner."""
        networks = self.networks()
        sizes = (f"{name} {_count(network)} parameters" for name, network in networks.items())
        rates = (f"{name} {self.optimization.of(name).lr:g}" for name in networks)
        return {
            "learns": ", ".join(sizes),
            "updates": f"{self.total_updates:,}, {'; '.join(self.describe_schedules())}",
            "learning rate": ", ".join(rates),
        }

    # Setting up

    def setup(self, stage: str) -> None:
        """Check the data's stage, the precision and the strategy."""
        check_precision(self.trainer.precision)
        self.data = data_of(self.trainer)
        found = getattr(self.data, "stage", None)
        if self.stages and found is not None and found not in self.stages:
            raise ValueError(
                f"data.init_args.stage: {type(self).__name__} reads {' or '.join(self.stages)}, got {found}"
            )
        strategy = self.trainer.strategy
        supported = isinstance(strategy, DDPStrategy | ShardedStrategy)
        if not supported and (self.trainer.world_size > 1 or strategy.restore_checkpoint_after_setup):
            raise ValueError(
                f"{type(strategy).__name__} is none of the strategies that {type(self).__name__} runs under: expected "
                "trainer.strategy auto, or lightning_marlhf.modules.ShardedStrategy (experiments/hardware/8x80gb.yaml)"
            )
        if stage == "fit":
            self._validate_over_epochs()
        checkpoint = self.trainer.ckpt_path
        if not isinstance(strategy, ShardedStrategy) and checkpoint and Path(checkpoint).is_dir():
            raise ValueError(
                f"{checkpoint} is sharded: resume under trainer.strategy lightning_marlhf.modules.ShardedStrategy, on "
                "any number of processes, one too"
            )

    def configure_model(self) -> None:
        """Build the trained networks, once."""
        if not self._is_built:
            self.build_networks(self.network_factory)
            self._is_built = True

    @property
    def network_factory(self) -> NetworkFactory:
        """The factory for this run's device and sharding; without a trainer, the CPU."""
        strategy = self._trainer and self._trainer.strategy
        if isinstance(strategy, ShardedStrategy):
            return NetworkFactory(strategy.root_device, strategy.sharding)
        return NetworkFactory(self.device)

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The data's tokenizer, which is also the model's."""
        return self.data.tokenizer

    def rows_per_update(self) -> int:
        """Count the rows of this rank in one update."""
        return self.data.batch_size // self.trainer.world_size

    def max_row_tokens(self) -> int:
        """Return the maximum number of tokens of a row."""
        return self.data.longest

    def on_train_start(self) -> None:
        """Dry-run one forward and backward pass of the largest shape, so that out-of-memory errors come at once."""
        super().on_train_start()
        models = {name: language_model(network) for name, network in self.networks().items()}
        if self.checkpoint_activations:
            for model in models.values():
                model.activation_checkpointing_enable({"use_reentrant": False})
        width = self.max_row_tokens()
        for name, model in models.items():
            if width > (limit := context_length(model)):
                raise ValueError(
                    f"the longest row of this run may take {width} tokens, and the {name} has {limit} positions: lower "
                    "data.init_args.max_length or max_prompt_length (or sampling.max_new_tokens)"
                )
        shape = (min(self.micro_batch_size, self.rows_per_update()), width)
        ids = torch.full(shape, self.tokenizer.eos_token_id, device=self.device)
        self.manual_backward(0.0 * self.dry_run_loss(ids, torch.ones_like(ids, dtype=torch.bool)))
        self.zero_grad()

    def _validate_over_epochs(self) -> None:
        """Let `val_check_interval` span epochs that are shorter than it."""
        trainer = self.trainer
        interval = getattr(trainer, "val_check_interval", None)  # absent if it is a time
        share = trainer.limit_train_batches
        if isinstance(interval, int):
            batches = len(self.data.train_dataloader())
            batches = min(batches, share) if isinstance(share, int) else int(batches * share)
            if interval > batches:
                trainer.check_val_every_n_epoch = None

    # Evaluation

    def on_validation_epoch_start(self) -> None:
        """Start to collect the means of an evaluation."""
        self._evaluation = WeightedMeans()

    def on_validation_epoch_end(self) -> None:
        """Log them."""
        self.log_metrics(self.mean_over_ranks(self._evaluation))

    def on_test_epoch_start(self) -> None:
        """Same as validation."""
        self.on_validation_epoch_start()

    def on_test_epoch_end(self) -> None:
        """Same as validation."""
        self.on_validation_epoch_end()

    def test_step(self, batch: Any, batch_idx: int) -> Any:
        """Same as validation."""
        return self.validation_step(batch, batch_idx)

    def predict_step(self, batch: Any, batch_idx: int) -> Any:
        """Raise: only MAPPO generates responses."""
        raise ValueError(f"{type(self).__name__} has no predict loop: use `generate RUN` on its export")

    def num_valid_rows(self, batch_idx: int) -> int:
        """Count the valid rows of a held-out batch; the rest is padding to equal numbers per rank."""
        evaluating = self.trainer.state.fn in ("fit", "validate")
        return self.data.num_valid_rows("validate" if evaluating else "test", batch_idx)

    def held_out_micro_batches(self, batch: Batch, batch_idx: int) -> Iterator[tuple[Batch, slice]]:
        """Split a held-out batch into micro-batches, each with the slice of its valid rows; as many on all ranks."""
        num_valid = self.num_valid_rows(batch_idx)
        for number, part in enumerate(batch.micro_batches(self.micro_batch_size)):
            yield part, slice(max(0, num_valid - number * self.micro_batch_size))

    # Exports and checkpoints

    @property
    def streams_export(self) -> bool:
        """Whether a checkpoint can be exported tensor by tensor, without building the network."""
        return self.lora is None or isinstance(self.starts_from, str)

    def export(self, folder: Path, *, card: Mapping[str, Any], weights: ShardedWeights | None = None) -> None:
        """Write the result as a Hugging Face folder; ``weights`` are those of a checkpoint, if not the module's own."""
        model, prefix = self.exported()
        base = self.starts_from if isinstance(self.starts_from, str) else ""
        stream = None
        if weights is not None:
            stream = weights_in(weights, model, prefix=prefix, base=base if self.lora else None)
        export(model, self.tokenizer, folder, card=card, weights=stream, lora=self.lora, base=base)

    def frozen_weights(self) -> set[str]:
        """Return the names of frozen weights, which checkpoints leave out."""
        weights = self.named_parameters(remove_duplicate=False)
        return {name for name, weight in weights if not weight.requires_grad}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Save trained weights only, and the RNG states of all ranks (a user's scorer may draw from them)."""
        frozen = self.frozen_weights()
        weights = checkpoint["state_dict"]
        checkpoint["state_dict"] = {name: x for name, x in weights.items() if name not in frozen}
        checkpoint["random_state"] = self.all_gather_object(_random_state())
        checkpoint["skipped"] = asdict(self.skipped)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Read the RNG state; it is restored at the first batch.

        Raises:
            ValueError: the checkpoint is of other networks.
        """
        if self.strict_loading:
            refuse_other_networks(checkpoint.get("state_dict", {}), self.state_dict())
        if states := checkpoint.get("random_state"):
            states = [states] if isinstance(states, dict) else states  # saved by one process
            self._random_state = states[self.trainer.global_rank % len(states)]
        self.skipped = Skipped(**checkpoint.get("skipped", {}))

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Restore the checkpoint's RNG state, once."""
        if self._random_state is not None:
            _restore_random_state(self._random_state)
            self._random_state = None


def refuse_other_networks(saved: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> None:
    """Compare the names and shapes of a checkpoint's weights with a module's.

    Raises:
        ValueError: names the first that differs.
    """
    if not saved:  # sharded: read in place, later
        return
    for name in (*own, *saved):
        there, here = (str(list(weights[name].shape)) if name in weights else "missing" for weights in (saved, own))
        if there != here:
            raise ValueError(
                f"the checkpoint is of another model, or of another version of this program: {name} is {there} in the "
                f"checkpoint and {here} here; resume with the settings that the run began with, or start a new one"
            )


def _random_state() -> dict[str, Any]:
    """Collect the states of torch's, Python's and numpy's global random numbers as plain data."""
    name, keys, *numpy_rest = np.random.get_state()  # noqa: NPY002 - the one that users' code draws from
    version, python_keys, gauss = random.getstate()
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "python": [version, list(python_keys), gauss],
        "numpy": [name, [int(key) for key in keys], *numpy_rest],
    }


def _restore_random_state(state: Mapping[str, Any]) -> None:
    """Restore what `_random_state` collected."""
    torch.set_rng_state(state["torch"])
    if torch.cuda.is_available() and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])
    version, python_keys, gauss = state["python"]
    random.setstate((version, tuple(python_keys), gauss))
    name, keys, *numpy_rest = state["numpy"]
    np.random.set_state((name, np.array(keys, dtype=np.uint32), *numpy_rest))  # noqa: NPY002


def _count(network: nn.Module) -> str:
    """Format the number of trainable parameters, and the total if it differs."""
    weights = list(network.parameters())
    learning = sum(weight.numel() for weight in weights if weight.requires_grad)
    size = sum(weight.numel() for weight in weights)
    return f"{size:,}" if learning == size else f"{learning:,} of {size:,}"
