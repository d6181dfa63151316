"""One AdamW for all trained networks, with named parameter groups, and a learning-rate schedule.

One optimizer means one count of steps: `max_steps`, checkpoints, logs and the progress bar all count updates.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from lightning_marlhf.models.fsdp import full_tensor
from lightning_marlhf.ranges import NonNegative, NonNegativeInt, Positive, Range, checked

Rate = Annotated[float, Range(at_least=0, at_most=1)]
Decay = Annotated[float, Range(at_least=0, below=1)]

_VECTORS = "_vectors"  # ends the names of parameter groups
_MASTER = "master"  # names a weight's fp32 copy in the optimizer's state
_HALF = (torch.bfloat16, torch.float16)


Schedule = Literal["constant", "linear", "cosine"]


@checked
@dataclass(frozen=True)
class Optimization:
    """Optimizer and schedule settings; the ``critic_`` ones override those of the policy.

    A schedule counts the updates in which its network learns: the policy's begins after ``ppo.critic_warmup``.

    Attributes:
        lr: Peak learning rate (of the policy, if there is a critic).
        critic_lr: Peak learning rate of the critic; null: ``lr``.
        betas: Betas of AdamW.
        eps: Epsilon of AdamW.
        weight_decay: Weight decay of matrices; vectors (norms, biases) have none.
        critic_weight_decay: Weight decay of the critic; null: ``weight_decay``.
        schedule: Learning rate after the warm-up: "constant", "linear" to 0, or "cosine" to 0.
        critic_schedule: Schedule of the critic; null: ``schedule``.
        warmup_ratio: Fraction of a network's updates that are warm-up.
        warmup_steps: Updates of the warm-up; replaces the ratio.
        critic_warmup_steps: Updates of the critic's warm-up; null: the policy's steps or ratio.
        max_grad_norm: Norm to which gradients are clipped, policy and critic each by itself; null does not clip.
        critic_max_grad_norm: Norm for the critic; null: ``max_grad_norm``.
        max_skips_in_a_row: Maximum number of updates in a row that are skipped as their gradients are NaN or infinite;
            one more ends the run.
    """

    lr: Rate = 1e-5
    critic_lr: Rate | None = None
    betas: tuple[Decay, Decay] = (0.9, 0.95)
    eps: Annotated[float, Range(at_least=1e-37, at_most=1)] = 1e-8  # no 0 in fp32
    weight_decay: NonNegative = 0.0
    critic_weight_decay: NonNegative | None = None
    schedule: Schedule = "cosine"
    critic_schedule: Schedule | None = None
    warmup_ratio: Decay = 0.0
    warmup_steps: NonNegativeInt | None = None
    critic_warmup_steps: NonNegativeInt | None = None
    max_grad_norm: Positive | None = 1.0
    critic_max_grad_norm: Positive | None = None
    max_skips_in_a_row: NonNegativeInt = 3

    def of(self, network: str) -> "Optimization":
        """Return the settings of one network: the critic's override the policy's."""
        if network != "critic":
            return self
        names = ("lr", "weight_decay", "schedule", "warmup_steps", "max_grad_norm")
        own = {name: getattr(self, f"critic_{name}") for name in names}
        return replace(self, **{name: x for name, x in own.items() if x is not None})

    def warmup(self, updates: int) -> int:
        """Count the updates of the warm-up in a run of ``updates``.

        Raises:
            ValueError: the warm-up is not shorter than the run.
        """
        steps = self.warmup_steps
        if steps is None:
            steps = math.ceil(self.warmup_ratio * updates)
        if steps >= updates > 0:
            raise ValueError(
                f"warm-up of {steps} updates in a run of {updates}: expected less than the run; "
                "lower optimization.warmup_steps or warmup_ratio, or raise trainer.max_steps"
            )
        return steps


class MasterAdamW(AdamW):
    """AdamW for weights in half precision, too: it changes fp32 copies, and rounds them to the weights after each step.

    A bf16 weight keeps 8 bits, so that an update of less than a 500th of it is rounded away: at a learning rate of 1e-6
    almost every one. The copies and the moments are kept in fp32, with the optimizer's state: checkpoints hold them,
    and they are sharded as the weights are.
    """

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Make one update; weights in fp32 or better are AdamW's own."""
        loss = None
        if closure is not None:  # Lightning's
            with torch.enable_grad():
                loss = closure()
        masters = self._swap_in_masters()
        own_weights = [group["params"] for group in self.param_groups]
        for group in self.param_groups:
            group["params"] = [masters.get(weight, weight) for weight in group["params"]]
        try:
            super().step()
        finally:
            for group, weights in zip(self.param_groups, own_weights, strict=True):
                group["params"] = weights
            self._swap_out_masters(masters)
        return loss

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load copies and moments as they are; torch rounds them to the dtype of their weights."""
        super().load_state_dict(state_dict)
        names = (name for group in state_dict["param_groups"] for name in group["params"])
        weights = (weight for group in self.param_groups for weight in group["params"])
        for name, weight in zip(names, weights, strict=True):
            if weight.dtype in _HALF:
                saved = state_dict["state"].get(name, {})
                floats = {key: x for key, x in saved.items() if torch.is_tensor(x)}
                self.state[weight] |= {key: x.to(weight.device, torch.float32) for key, x in floats.items()}

    def _swap_in_masters(self) -> dict[Tensor, Tensor]:
        """Hand the state and the gradient of each half-precision weight over to its copy, made in the first step."""
        masters = {}
        for weight in (weight for group in self.param_groups for weight in group["params"]):
            if weight.dtype in _HALF and weight.grad is not None:
                state = self.state.pop(weight, {})
                master = state.pop(_MASTER, None)
                master = weight.detach().float() if master is None else master
                master.grad = weight.grad.float()
                self.state[master] = state
                masters[weight] = master
        return masters

    def _swap_out_masters(self, masters: dict[Tensor, Tensor]) -> None:
        for weight, master in masters.items():
            weight.copy_(master)
            master.grad = None
            self.state[weight] = self.state.pop(master) | {_MASTER: master}


def build_optimizer(networks: Mapping[str, nn.Module], settings: Optimization) -> AdamW:
    """Make one AdamW over several networks.

    Args:
        networks: Networks by name. Each becomes one named group of matrices and one, without weight decay, of vectors.
        settings: Learning rates, betas, epsilon, weight decays.
    """
    groups: list[dict[str, Any]] = []
    for name, network in networks.items():
        lr = settings.of(name).lr
        weights = [weight for weight in network.parameters() if weight.requires_grad]
        matrices = [weight for weight in weights if weight.ndim > 1]
        vectors = [weight for weight in weights if weight.ndim <= 1]
        decay = settings.of(name).weight_decay
        groups.append({"name": name, "params": matrices, "lr": lr, "weight_decay": decay})
        groups.append({"name": name + _VECTORS, "params": vectors, "lr": lr, "weight_decay": 0.0})
    return MasterAdamW(
        [group for group in groups if group["params"]], betas=settings.betas, eps=settings.eps, fused=True
    )


def build_schedule(optimizer: AdamW, settings: Optimization, *, updates: int, starts: Mapping[str, int]) -> LambdaLR:
    """Make the learning-rate schedules of a run; one step of them is one update.

    Args:
        optimizer: Optimizer from `build_optimizer`.
        settings: Settings of all networks.
        updates: Number of updates of the run.
        starts: First update of each network.
    """
    factors = {
        name: learning_rate_factor(settings.of(name), updates=updates - start, start=start)
        for name, start in starts.items()
    }
    return LambdaLR(optimizer, [factors[network_of(group)] for group in optimizer.param_groups])


def network_of(group: Mapping[str, Any]) -> str:
    """Name the network of a parameter group."""
    return str(group["name"].removesuffix(_VECTORS))


def learning_rate_factor(settings: Optimization, *, updates: int, start: int = 0) -> Callable[[int], float]:
    """Return the factor of the peak learning rate as a function of the updates done: 0 before ``start``.

    Args:
        settings: Settings of one network.
        updates: Number of updates in which it is trained.
        start: Number of updates before them.
    """
    warmup = settings.warmup(updates)

    def factor(step: int) -> float:
        step -= start
        if step < 0:
            return 0.0
        if step < warmup:
            return (step + 1) / (warmup + 1)
        done = min(1.0, (step - warmup) / max(1, updates - warmup))
        shapes = {"constant": 1.0, "linear": 1.0 - done, "cosine": 0.5 * (1 + math.cos(math.pi * done))}
        return shapes[settings.schedule]

    return factor


def reapply_hyperparameters(optimizer: AdamW, schedule: LambdaLR, settings: Optimization) -> None:
    """Apply the configured learning rates and weight decays to a resumed optimizer, whose checkpoint has old ones.

    Args:
        optimizer: As loaded.
        schedule: As loaded; it keeps its position.
        settings: Settings of all networks.
    """
    own = [settings.of(network_of(group)) for group in optimizer.param_groups]
    schedule.base_lrs = [each.lr for each in own]
    for group, each, factor in zip(optimizer.param_groups, own, schedule.lr_lambdas, strict=True):
        group["initial_lr"] = each.lr
        group["lr"] = each.lr * factor(schedule.last_epoch)
        if not group["name"].endswith(_VECTORS):
            group["weight_decay"] = each.weight_decay


class NonFiniteError(RuntimeError):
    """Gradients are NaN or infinite, too often or because a weight is."""


def gradient_norm(network: nn.Module) -> Tensor:
    """Measure the norm of all gradients of a network together, over all ranks if they are sharded."""
    gradients = [weight.grad for weight in network.parameters() if weight.grad is not None]
    return full_tensor(nn.utils.get_total_norm(gradients))


def find_non_finite(named: Iterable[tuple[str, Tensor | None]]) -> str:
    """Name the first tensor that holds a NaN or an infinity; '' if none does."""
    present = ((name, x) for name, x in named if x is not None)
    return next((name for name, x in present if not full_tensor(torch.isfinite(x).all())), "")
