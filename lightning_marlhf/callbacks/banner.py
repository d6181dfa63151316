"""What is about to happen, said before it does; and how long it will take, said after the first step."""

import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from rich.table import Table
from rich.text import Text
from torch import nn

from lightning_marlhf.callbacks.checkpoint import Checkpoint
from lightning_marlhf.callbacks.console import console
from lightning_marlhf.callbacks.pace import Pace, in_words, total_updates

ADAM_MOMENTS = 2
_PACKAGE = "lightning_marlhf"


class StartBanner(Callback):
    """Prints the plan of a fit, and the time left after its first step."""

    def __init__(self) -> None:
        self._said = True  # how long it will take
        self._total: int | None = None
        self._pace: Pace | None = None  # of the first step

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say what will happen."""
        if not trainer.is_global_zero:
            return
        self._total = total_updates(trainer, pl_module)
        self._said = False
        table = Table.grid(padding=(0, 2))
        for name, line in plan(trainer, pl_module, total=self._total).items():
            table.add_row(Text(name, style="bold"), Text(str(line)))
        console().print(table)

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Take the time of the first batch."""
        if not self._said and self._pace is None:
            self._pace = Pace(step=trainer.global_step, total=self._total)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Say how long it will take, once."""
        if self._pace is None:
            return
        pace, self._pace, self._said = self._pace, None, True
        eta = pace.eta_s(trainer.global_step)
        updates = trainer.global_step - pace.first_step
        line = (
            f"first step: {in_words(pace.seconds)} ({updates} update{'' if updates == 1 else 's'})"
        )
        if eta is not None:
            until = time.strftime("%H:%M", time.localtime(time.time() + eta))
            line += f"; at this pace {in_words(eta)} to go, until {until}"
        if torch.cuda.is_available():
            peak, there = torch.cuda.max_memory_allocated(), torch.cuda.mem_get_info()[1]
            line += f"; peak GPU memory {_bytes(peak)} of {_bytes(there)}"
        console().print(Text(line))


def plan(trainer: Trainer, module: LightningModule, *, total: int | None) -> dict[str, str]:
    """Return the lines of the banner: what data, module and trainer say of themselves."""
    resumed = {"resumed": f"after {trainer.global_step:,} updates"} if trainer.global_step else {}
    return {
        "run": f"{trainer.default_root_dir}",
        **resumed,
        "updates": "no end" if total is None else f"{total:,}",
        **_described(getattr(trainer, "datamodule", None)),
        **_described(module),
        "checkpoints": "; ".join(_checkpoints(trainer.checkpoint_callbacks)) or "none",
        "memory": memory_estimate(module),
        "device": _device(trainer),
    }


def memory_estimate(module: nn.Module) -> str:
    """Estimate what weights, gradients and AdamW's moments need; activations come on top.

    Frozen networks count too: those that a module keeps outside its children, so that no checkpoint holds them.
    """
    learning = [w for w in module.parameters() if w.requires_grad]
    networks = [module, *_networks_in(vars(module), depth=4)]
    weights = list({id(w): w for network in networks for w in network.parameters()}.values())
    total = _size(weights) + _size(learning) * (1 + ADAM_MOMENTS)
    millions = sum(w.numel() for w in learning) / 1e6
    frozen = sum(w.numel() for w in weights) / 1e6 - millions
    return (
        f"{_bytes(total)} for weights, gradients and AdamW "
        f"({millions:.3g} M weights learn, {frozen:.3g} M are frozen); activations come on top"
    )


def _networks_in(value: Any, *, depth: int) -> Iterator[nn.Module]:
    """Find the networks held by our own objects, however they are nested."""
    if isinstance(value, nn.Module):
        yield value
    elif depth and isinstance(value, Mapping | list | tuple):
        for part in value.values() if isinstance(value, Mapping) else value:
            yield from _networks_in(part, depth=depth - 1)
    elif depth and type(value).__module__.startswith(_PACKAGE) and hasattr(value, "__dict__"):
        yield from _networks_in(vars(value), depth=depth)


def _size(weights: Iterable[torch.Tensor]) -> int:
    return sum(w.numel() * w.element_size() for w in weights)


def _checkpoints(callbacks: Iterable[Any]) -> list[str]:
    lines = []
    for callback in callbacks:
        if isinstance(callback, Checkpoint):
            best = f", best {callback.save_top_k} by {callback.monitor}" if callback.monitor else ""
            lines.append(f"every {callback.every} updates{best}")
        else:
            lines.append(type(callback).__name__)
    return lines


def _device(trainer: Trainer) -> str:
    device = trainer.strategy.root_device
    name = (
        torch.cuda.get_device_name(device)
        if device.type == "cuda"
        else f"{torch.get_num_threads()} threads"
    )
    return f"{trainer.world_size} x {device.type} ({name}), {trainer.precision}"


def _described(part: Any) -> Mapping[str, str]:
    describe = getattr(part, "describe", None)
    return describe() if callable(describe) else {}


def _bytes(size: float) -> str:
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} GB"
