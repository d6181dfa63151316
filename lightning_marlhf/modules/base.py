"""What SFT, reward model and MA-PPO share: manual optimisation in which one update is one `global_step`.

The dataloader gives the whole batch of an update (of a rollout, for PPO); it is cut into micro-batches here, and every
loss is divided by what the whole batch counts, so that 8 x 1 = 1 x 8.
"""

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor, nn
from torch.optim import Optimizer
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from lightning_marlhf.models.backbone import ModelSource, context_length
from lightning_marlhf.models.hf_export import export
from lightning_marlhf.models.lora import LoRA
from lightning_marlhf.models.network_factory import NetworkFactory
from lightning_marlhf.models.sharded_checkpoint import ShardedWeights
from lightning_marlhf.models.streaming import weights_in
from lightning_marlhf.modules import random_state
from lightning_marlhf.modules.averages import WeightedMeans
from lightning_marlhf.modules.optimization import (
    NonFiniteError,
    Optimization,
    build_optimizer,
    build_schedule,
    find_non_finite,
    gradient_norm,
    renew_rates,
)
from lightning_marlhf.modules.precision import check_precision
from lightning_marlhf.modules.sharded_strategy import ShardedStrategy
from lightning_marlhf.ranges import PositiveInt, checked


class NothingLearntError(ValueError):
    """No weight was changed by any update of a run."""


@dataclass
class Skipped:
    """What a run left out because it went wrong; checkpoints hold it."""

    updates: int = 0  # gradients were not finite
    in_a_row: int = 0  # of them, the last ones
    rollouts: int = 0  # the scorer failed
    rollouts_in_a_row: int = 0
    steps: int = 0  # of the optimizer, for whichever of these reasons: no weight was changed

    def metrics(self) -> dict[str, float]:
        """Give what is to be logged: nothing as long as nothing went wrong."""
        counts = {"skipped/updates": self.updates, "skipped/rollouts": self.rollouts}
        return {name: float(count) for name, count in counts.items() if count}


@checked
class TrainingModule(LightningModule):
    """A LightningModule that updates its networks itself.

    Args:
        optimization: how weights are updated.
        micro_batch_size: rows per forward and backward pass; memory grows with it, results do not change (in half
            precision by 0.2 % or so: layers round the gradients of their matrices to it once in each pass).
        checkpoint_activations: keep a layer's input alone, and run the layer again in the backward pass: less memory,
            a third more time, the same results.
        lora: what learns beside frozen weights, if not all weights learn.
        starts_from: where what is exported comes from.
    """

    monitor: str
    """The metric that matters; shown in the progress line."""
    stages: tuple[str, ...] = ()
    """What `data.init_args.stage` may be; any where it names none."""
    updates_per_batch: int = 1
    only_shapes: bool = False
    """Build networks without weights, to export what a sharded checkpoint holds."""

    def __init__(
        self,
        *,
        optimization: Optimization,
        micro_batch_size: PositiveInt,
        checkpoint_activations: bool,
        lora: LoRA | None = None,
        starts_from: ModelSource = "",
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.optimization = optimization
        self.micro_batch_size = micro_batch_size
        self.checkpoint_activations = checkpoint_activations
        self.lora = lora
        self.starts_from = starts_from
        self.strict_loading = lora is None  # checkpoints hold what learns, and nothing else
        self._random_state: dict[str, Any] | None = None
        self.skipped = Skipped()

    @abstractmethod
    def networks(self) -> dict[str, tuple[nn.Module, float]]:
        """Name the networks that learn, each with its peak learning rate."""

    @abstractmethod
    def export(
        self, folder: Path, *, card: Mapping[str, Any], weights: ShardedWeights | None = None
    ) -> None:
        """Write the result as a Hugging Face folder; ``weights`` are those of a checkpoint, if not the module's own."""

    @abstractmethod
    def dry_run_loss(self, input_ids: Tensor, mask: Tensor) -> Tensor:
        """Give a loss of rows [batch, sequence] of the largest shape, through every network that learns."""

    def describe(self) -> dict[str, str]:
        """Say in a few lines what the run will do."""
        sizes = ", ".join(
            f"{name} {_count(network)} parameters" for name, (network, _) in self.networks().items()
        )
        rates = ", ".join(f"{name} {lr:g}" for name, (_, lr) in self.networks().items())
        return {
            "learns": sizes,
            "updates": f"{self.total_updates:,}, {'; '.join(self._schedules())}",
            "learning rate": rates,
        }

    def setup(self, stage: str) -> None:
        """Refuse data of another stage, precisions that go wrong, and strategies under which processes would differ."""
        check_precision(self.trainer.precision)
        found = getattr(getattr(self.trainer, "datamodule", None), "stage", None)
        if self.stages and found is not None and found not in self.stages:
            raise ValueError(
                f"data.init_args.stage: {type(self).__name__} reads {' or '.join(self.stages)}, got {found}"
            )
        strategy = self.trainer.strategy
        together = isinstance(strategy, DDPStrategy | ShardedStrategy)
        if not together and (
            self.trainer.world_size > 1 or strategy.restore_checkpoint_after_setup
        ):
            raise ValueError(
                f"{type(strategy).__name__} is none of the strategies that {type(self).__name__} runs under: expected "
                "trainer.strategy auto, or lightning_marlhf.modules.ShardedStrategy (experiments/hardware/8x80gb.yaml)"
            )
        if stage == "fit":
            self._validate_over_epochs()
        checkpoint = self.trainer.ckpt_path
        if not isinstance(strategy, ShardedStrategy) and checkpoint and Path(checkpoint).is_dir():
            raise ValueError(
                f"{checkpoint} is sharded: go on under trainer.strategy lightning_marlhf.modules.ShardedStrategy, on "
                "any number of processes, one too"
            )

    def on_train_start(self) -> None:
        """Run one pass of the largest shape, so that a run that does not fit fails at once."""
        if self.checkpoint_activations:
            for _, model in self._models():
                model.activation_checkpointing_enable({"use_reentrant": False})
        renew_rates(
            self.optimizers().optimizer,  # type: ignore[union-attr]
            self.lr_schedulers(),  # type: ignore[arg-type]
            self.optimization,
        )
        width = self.max_row_tokens()
        self._check_positions(width)
        shape = (min(self.micro_batch_size, self.rows_per_update()), width)
        ids = torch.full(shape, self.tokenizer.eos_token_id, device=self.device)
        self.manual_backward(0.0 * self.dry_run_loss(ids, torch.ones_like(ids, dtype=torch.bool)))
        self.zero_grad()

    def on_train_end(self) -> None:
        """Refuse to call a run trained in which nothing was learnt; its last checkpoint is saved by now.

        Raises:
            NothingLearntError: every update of the run was skipped.
        """
        if 0 < self.global_step == self.skipped.steps:
            raise NothingLearntError(
                f"all {self.global_step} updates of the run were skipped, so there is nothing to export: the warnings "
                "above say why"
            )

    @property
    def streams_export(self) -> bool:
        """The export of a checkpoint needs weights one by one only, not the network."""
        return self.lora is None or isinstance(self.starts_from, str)

    def write_export(
        self,
        model: PreTrainedModel,
        prefix: str,
        folder: Path,
        *,
        card: Mapping[str, Any],
        weights: ShardedWeights | None,
    ) -> None:
        """Write one of the module's models, whose weights checkpoints call ``prefix`` and their name."""
        base = self.starts_from if isinstance(self.starts_from, str) else ""
        stream = None
        if weights is not None:
            stream = weights_in(weights, model, prefix=prefix, base=base if self.lora else None)
        options = {"weights": stream, "lora": self.lora, "base": base}
        export(model, self.tokenizer, folder, card=card, **options)  # type: ignore[arg-type]

    def frozen_weights(self) -> set[str]:
        """Name the weights that do not learn, which no checkpoint holds."""
        weights = self.named_parameters(remove_duplicate=False)
        return {name for name, weight in weights if not weight.requires_grad}

    @property
    def placement(self) -> NetworkFactory:
        """Where the networks of this run live."""
        if self.only_shapes:
            return NetworkFactory(torch.device("meta"))
        strategy = self.trainer.strategy
        if isinstance(strategy, ShardedStrategy):
            return NetworkFactory(strategy.root_device, strategy.sharding)
        return NetworkFactory(self.device)

    def counted(self, batch_idx: int) -> int:
        """Count the rows of a held-out batch that count; those after them only fill up the share of a rank."""
        split = "validate" if self.trainer.state.fn in ("fit", "validate") else "test"
        return self.trainer.datamodule.counted(split, batch_idx)  # type: ignore[attr-defined, no-any-return]

    def rows_per_update(self) -> int:
        """Count the rows of this rank in one update."""
        rows: int = self.trainer.datamodule.batch_size  # type: ignore[attr-defined]
        return rows // self.trainer.world_size

    def first_update(self, network: str) -> int:
        """Count the updates of the run before ``network`` learns, and its schedule begins."""
        return 0

    def max_row_tokens(self) -> int:
        """Count the tokens of the longest row that a pass may see."""
        return self.trainer.datamodule.longest  # type: ignore[attr-defined, no-any-return]

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep what learns, and the random state: ours is a function of seed and step, a user's scorer may draw."""
        frozen = self.frozen_weights()
        weights = checkpoint["state_dict"]
        checkpoint["state_dict"] = {name: x for name, x in weights.items() if name not in frozen}
        checkpoint["random_state"] = self._of_all_ranks(random_state.collect())
        checkpoint["skipped"] = asdict(self.skipped)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Find the random state; it is put back when the first batch comes.

        Raises:
            ValueError: the checkpoint is of other networks.
        """
        if self.strict_loading:
            refuse_other_networks(checkpoint.get("state_dict", {}), self.state_dict())
        states = checkpoint.get("random_state")
        states = [states] if isinstance(states, dict) else states  # of one process, once
        self._random_state = states and states[self.trainer.global_rank % len(states)]
        self.skipped = Skipped(**checkpoint.get("skipped", {}))

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Put the random state of the checkpoint back, once."""
        if self._random_state is not None:
            random_state.restore(self._random_state)
            self._random_state = None

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The data's tokenizer, which is also the model's."""
        return self.trainer.datamodule.tokenizer  # type: ignore[attr-defined, no-any-return]

    @property
    def total_updates(self) -> int:
        """How many updates the run will make, from max_steps and max_epochs, whichever ends first."""
        trainer = self.trainer
        return count_updates(
            max_steps=trainer.max_steps,
            max_epochs=trainer.max_epochs,
            batches=lambda: len(trainer.datamodule.train_dataloader()),  # type: ignore[attr-defined]
            updates_per_batch=self.updates_per_batch,
        )

    def configure_optimizers(self) -> dict[str, Any]:
        """Make one optimizer over all networks and its schedule."""
        learning = (weight for net, _ in self.networks().values() for weight in net.parameters())
        if any(weight.requires_grad and weight.dtype == torch.float16 for weight in learning):
            rank_zero_warn(
                "what learns is in float16, in which gradients below 6e-8 are 0: expected model.init_args.dtype "
                "bfloat16 or float32"
            )
        optimizer = build_optimizer(self.networks(), self.optimization)
        schedule = build_schedule(
            optimizer, self.optimization, updates=self.total_updates, starts=self._starts()
        )
        return {"optimizer": optimizer, "lr_scheduler": schedule}

    def passes(self, size: int) -> Iterator[slice]:
        """Cut ``size`` rows into the rows of single passes."""
        return (
            slice(at, at + self.micro_batch_size) for at in range(0, size, self.micro_batch_size)
        )

    def manual_backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """Take gradients outside autocast, in which Lightning's steps run: it would round those of fp32 parts."""
        with torch.autocast(loss.device.type, enabled=False):
            super().manual_backward(loss, *args, **kwargs)

    def update(self, means: WeightedMeans) -> None:
        """Clip the gradients, step optimizer and schedule, and clear the gradients.

        Where a gradient is NaN or infinite, no weight changes: the update counts as one that was skipped, and what it
        added to ``means`` since their mark is taken back.

        Args:
            means: get the learning rates of this update, and each network's gradient norm before clipping.

        Raises:
            NonFiniteError: too many updates in a row had to be skipped, or a weight is not finite.
        """
        networks = {name: network for name, (network, _) in self.networks().items()}
        norms = {name: gradient_norm(network).to(self.device) for name, network in networks.items()}
        if torch.stack(list(norms.values())).isfinite().all():
            self.skipped.in_a_row = 0
            for name, network in networks.items():
                if (limit := self.optimization.of(name).max_grad_norm) is not None:
                    nn.utils.clip_grads_with_norm_(network.parameters(), limit, norms[name])
        else:
            self._skip_update()
            means.rollback()
            norms = {}
        rates = self.step_optimizer()
        for name, value in (rates | {f"{name}/grad_norm": x for name, x in norms.items()}).items():
            means.add(name, value)

    def step_optimizer(self) -> dict[str, Tensor]:
        """Step optimizer and schedule; without gradients no weight and no moment changes, and the update counts.

        Returns:
            The learning rates of this update.
        """
        optimizer: Optimizer = self.optimizers()  # type: ignore[assignment]
        rates = self._learning_rates(optimizer)
        optimizer.step()
        optimizer.zero_grad()
        self.lr_schedulers().step()  # type: ignore[union-attr, call-arg]
        return rates

    def predict_step(self, batch: Any, batch_idx: int) -> Any:
        """Refuse, in the modules that do not answer prompts."""
        raise ValueError(
            f"{type(self).__name__} predicts nothing: `generate RUN` answers prompts with what it exported"
        )

    def log_metrics(self, metrics: Mapping[str, float]) -> None:
        """Log against the number of updates, and make the values known to callbacks."""
        for logger in self.loggers:
            logger.log_metrics(dict(metrics), step=self.global_step)
        self.trainer.callback_metrics.update(
            {name: torch.tensor(value) for name, value in metrics.items()}
        )

    def all_reduce_sum(self, x: Tensor) -> Tensor:
        """Add up ``x`` over all ranks."""
        if self.trainer.world_size == 1:
            return x
        return self.trainer.strategy.reduce(x.clone(), reduce_op="sum")  # type: ignore[return-value]

    def _of_all_ranks(self, value: Any) -> list[Any]:
        values = [value] * self.trainer.world_size
        if self.trainer.world_size > 1:
            torch.distributed.all_gather_object(values, value)
        return values

    def share(self, total: Tensor) -> Tensor:
        """Give what a rank's loss is divided by: the count over all ranks, as gradients are averaged over them."""
        return self.all_reduce_sum(total) / self.trainer.world_size

    def _starts(self) -> dict[str, int]:
        return {name: self.first_update(name) for name in self.networks()}

    def _schedules(self) -> Iterator[str]:
        """Say in words how the learning rates go, once where they go alike."""
        words = {}
        for name, start in self._starts().items():
            own = self.optimization.of(name)
            wait = f"waits {start:,}, " if start else ""
            warmup = own.warmup(self.total_updates - start)
            words[name] = f"{wait}warm-up {warmup:,}, then {own.schedule}"
        if len(set(words.values())) == 1:
            yield next(iter(words.values()))
        else:
            yield from (f"{name} {each}" for name, each in words.items())

    def _models(self) -> Iterator[tuple[str, PreTrainedModel]]:
        """Find the language model or classifier in each network that learns."""
        for name, (network, _) in self.networks().items():
            models = (part for part in network.modules() if isinstance(part, PreTrainedModel))
            yield name, next(models)

    def _validate_over_epochs(self) -> None:
        """Count the batches between two validations over epochs that have less, which Lightning refuses."""
        trainer = self.trainer
        interval = getattr(trainer, "val_check_interval", None)  # not there where it is a time
        share = trainer.limit_train_batches
        if isinstance(interval, int):
            batches = len(trainer.datamodule.train_dataloader())  # type: ignore[attr-defined]
            batches = min(batches, share) if isinstance(share, int) else int(batches * share)
            if interval > batches:
                trainer.check_val_every_n_epoch = None

    def _check_positions(self, width: int) -> None:
        """Refuse rows that are longer than a network's context."""
        for name, model in self._models():
            limit = context_length(model)
            if width > limit:
                raise ValueError(
                    f"the longest row of this run may take {width} tokens, and the {name} has {limit} positions: lower "
                    "data.init_args.max_length or max_prompt_length (or sampling.max_new_tokens)"
                )

    def _learning_rates(self, optimizer: Optimizer) -> dict[str, Tensor]:
        """Name the first network's learning rate ``lr``, the others' ``lr_<name>``."""
        rates = {
            group["name"]: torch.tensor(group["lr"], device=self.device)
            for group in optimizer.param_groups
        }
        first, *others = self.networks()
        return {"lr": rates[first]} | {f"lr_{name}": rates[name] for name in others}

    def _skip_update(self) -> None:
        """Clear gradients that are not finite, and count."""
        gradients = ((name, weight.grad) for name, weight in self.named_parameters())
        weights = ((name, weight.data) for name, weight in self.named_parameters())
        broken, culprit = find_non_finite(weights), find_non_finite(gradients)
        self.skipped.updates += 1
        self.skipped.steps += 1
        self.skipped.in_a_row += 1
        update, in_a_row = self.global_step + 1, self.skipped.in_a_row
        resume = "lower the learning rate"
        if broken:
            raise NonFiniteError(f"update {update}: weight {broken} is NaN or infinite; {resume}")
        what = f"update {update}: the gradient of {culprit} is NaN or infinite"
        if in_a_row > self.optimization.max_skips_in_a_row:
            raise NonFiniteError(
                f"{what}, {in_a_row} updates in a row (optimization.max_skips_in_a_row); {resume}"
            )
        rank_zero_warn(f"{what}; it is skipped, no weight was changed")
        self.zero_grad()


def _count(network: nn.Module) -> str:
    """Count the weights that learn, and all of them where that differs."""
    weights = list(network.parameters())
    learning = sum(weight.numel() for weight in weights if weight.requires_grad)
    size = sum(weight.numel() for weight in weights)
    return f"{size:,}" if learning == size else f"{learning:,} of {size:,}"


def refuse_other_networks(saved: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> None:
    """Compare the names and shapes of a checkpoint's weights with a module's.

    Raises:
        ValueError: names the first that differs.
    """
    if not saved:  # sharded: read in place, later
        return
    for name in (*own, *saved):
        there, here = (
            str(list(weights[name].shape)) if name in weights else "missing"
            for weights in (saved, own)
        )
        if there != here:
            raise ValueError(
                f"the checkpoint is of another model, or of another version of this program: {name} is {there} in the "
                f"checkpoint and {here} here; resume with the settings that the run began with, or start a new one"
            )


def count_updates(
    *, max_steps: int, max_epochs: int | None, batches: Callable[[], int], updates_per_batch: int
) -> int:
    """Count the updates of a run; steps are updates, and whichever of the two limits comes first ends it.

    Args:
        max_steps: the trainer's; -1 is no limit.
        max_epochs: the trainer's; None and -1 are no limit.
        batches: counts the batches of an epoch, where epochs matter.
        updates_per_batch: updates that one batch makes.

    Raises:
        ValueError: there is no limit, or no batch.
    """
    steps = max_steps if max_steps >= 0 else None
    if max_epochs is None or max_epochs < 0:
        if steps is None:
            raise ValueError("the run has no end: set trainer.max_steps or trainer.max_epochs")
        return steps
    per_epoch = batches()
    if not per_epoch:
        raise ValueError("fewer training rows than one batch: lower data.batch_size")
    updates = max_epochs * per_epoch * updates_per_batch
    return updates if steps is None else min(steps, updates)
