"""Manual optimisation in which one update is one `global_step`, whatever the number of networks, passes and ranks.

Losses are normalised over the whole batch of an update (all micro-batches and ranks), so that 8 x 1 = 1 x 8.
"""

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor, nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from lightning_marlhf.modules.data_protocol import Data
from lightning_marlhf.modules.metrics import WeightedMeans
from lightning_marlhf.modules.optimization import (
    NonFiniteError,
    Optimization,
    build_optimizer,
    build_schedule,
    find_non_finite,
    gradient_norm,
    reapply_hyperparameters,
)


class AllUpdatesSkippedError(ValueError):
    """Every update of a run was skipped."""


@dataclass
class Skipped:
    """Counters of skipped updates and rollouts; saved in checkpoints."""

    updates: int = 0  # whose gradients were not finite
    in_a_row: int = 0  # of the latest updates, without a finite one between them
    rollouts: int = 0  # whose scorer failed
    rollouts_in_a_row: int = 0
    steps: int = 0  # optimizer steps without a change of weights, for either reason

    def metrics(self) -> dict[str, float]:
        """Return the metrics; empty while nothing was skipped."""
        counts = {"skipped/updates": self.updates, "skipped/rollouts": self.rollouts}
        return {name: float(count) for name, count in counts.items() if count}


class UpdatingModule(LightningModule):
    """A LightningModule that updates its networks itself.

    Args:
        optimization: How weights are updated.
    """

    updates_per_batch: int = 1
    data: Data
    """Of the run; set before networks are built."""

    def __init__(self, *, optimization: Optimization) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.optimization = optimization
        self.skipped = Skipped()

    @abstractmethod
    def networks(self) -> dict[str, nn.Module]:
        """Return the trained networks by name."""

    def first_update(self, network: str) -> int:
        """Return the update at which ``network`` starts to train and its schedule begins."""
        return 0

    @property
    def total_updates(self) -> int:
        """The updates that the run will make: by max_steps or max_epochs, whichever ends first."""
        return count_updates(
            max_steps=self.trainer.max_steps,
            max_epochs=self.trainer.max_epochs,
            batches=lambda: len(self.data.train_dataloader()),
            updates_per_batch=self.updates_per_batch,
        )

    def configure_optimizers(self) -> Any:
        """Make one optimizer over all networks and its schedule."""
        learning = (weight for network in self.networks().values() for weight in network.parameters())
        if any(weight.requires_grad and weight.dtype == torch.float16 for weight in learning):
            rank_zero_warn(
                "the trained weights are in float16, in which gradients below 6e-8 are 0: expected "
                "model.init_args.dtype bfloat16 or float32"
            )
        optimizer = build_optimizer(self.networks(), self.optimization)
        starts = {name: self.first_update(name) for name in self.networks()}
        schedule = build_schedule(optimizer, self.optimization, updates=self.total_updates, starts=starts)
        return {"optimizer": optimizer, "lr_scheduler": schedule}

    def on_train_start(self) -> None:
        """Apply the configured learning rates to a resumed optimizer."""
        optimizer, schedule = self.optimizers(use_pl_optimizer=False), self.lr_schedulers()
        assert isinstance(optimizer, AdamW)
        assert isinstance(schedule, LambdaLR)
        reapply_hyperparameters(optimizer, schedule, self.optimization)

    def on_train_end(self) -> None:
        """Raise if every update was skipped; the last checkpoint is saved by now.

        Raises:
            AllUpdatesSkippedError: every update of the run was skipped.
        """
        if 0 < self.global_step == self.skipped.steps:
            raise AllUpdatesSkippedError(
                f"all {self.global_step} updates of the run were skipped, so there is nothing to export: "
                "see the warnings above"
            )

    def manual_backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """Run the backward pass outside autocast, which would round the gradients of fp32 parts."""
        with torch.autocast(loss.device.type, enabled=False):
            super().manual_backward(loss, *args, **kwargs)

    def update(self, means: WeightedMeans) -> None:
        """Clip the gradients, step optimizer and schedule, and clear the gradients.

        Where a gradient is NaN or infinite, no weight changes: the update counts as one that was skipped, and what it
        added to ``means`` since their snapshot is rolled back.

        Args:
            means: receives the learning rates of this update, and the gradient norms before clipping.

        Raises:
            NonFiniteError: too many updates in a row had to be skipped, or a weight is not finite.
        """
        networks = self.networks()
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
            The learning rates of this update: ``lr`` of the first network, ``lr_<name>`` of the others.
        """
        optimizer, schedule = self.optimizers(), self.lr_schedulers()
        assert isinstance(optimizer, LightningOptimizer)
        assert isinstance(schedule, LambdaLR)
        rates = {
            group["name"]: torch.tensor(group["lr"], device=self.device) for group in optimizer.optimizer.param_groups
        }
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
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
            raise NonFiniteError(f"{what}, {in_a_row} updates in a row (optimization.max_skips_in_a_row); {resume}")
        rank_zero_warn(f"{what}; it is skipped, no weight was changed")
        self.zero_grad()

    def per_rank_denominator(self, total: Tensor) -> Tensor:
        """Return the denominator of a rank's loss: global count / world size, as gradients are averaged over ranks."""
        return self.all_reduce_sum(total) / self.trainer.world_size

    def all_reduce_sum(self, x: Tensor) -> Tensor:
        """Add up ``x`` over all ranks."""
        if self.trainer.world_size == 1:
            return x
        total: Tensor = self.trainer.strategy.reduce(x.clone(), reduce_op="sum")
        return total

    def gather(self, x: Tensor) -> Tensor:
        """Collect ``x`` of all ranks along a new first axis; of one process alone as it is."""
        of_all = self.all_gather(x)
        assert isinstance(of_all, Tensor)
        return of_all

    def all_gather_object(self, value: Any) -> list[Any]:
        """Collect a value of every rank, in the order of ranks."""
        values = [value] * self.trainer.world_size
        if self.trainer.world_size > 1:
            torch.distributed.all_gather_object(values, value)
        return values

    def mean_over_ranks(self, means: WeightedMeans) -> dict[str, float]:
        """Compute the means over all ranks."""
        return means.compute(self.all_reduce_sum)

    def log_metrics(self, metrics: Mapping[str, float]) -> None:
        """Log against the number of updates, and make the values known to callbacks."""
        for logger in self.loggers:
            logger.log_metrics(dict(metrics), step=self.global_step)
        self.trainer.callback_metrics.update({name: torch.tensor(value) for name, value in metrics.items()})

    def describe_schedules(self) -> Iterator[str]:
        """Describe the learning-rate schedules; one line if they are equal."""
        words = {}
        for name in self.networks():
            own, start = self.optimization.of(name), self.first_update(name)
            wait = f"waits {start:,}, " if start else ""
            warmup = own.warmup(self.total_updates - start)
            words[name] = f"{wait}warm-up {warmup:,}, then {own.schedule}"
        if len(set(words.values())) == 1:
            yield next(iter(words.values()))
        else:
            yield from (f"{name} {each}" for name, each in words.items())


def count_updates(*, max_steps: int, max_epochs: int | None, batches: Callable[[], int], updates_per_batch: int) -> int:
    """Count the updates of a run; steps are updates, and whichever of the two limits comes first ends it.

    Args:
        max_steps: the trainer's; -1 is no limit.
        max_epochs: the trainer's; None and -1 are no limit.
        batches: counts the batches of an epoch; called only if epochs matter.
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
