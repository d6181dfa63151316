"""The start banner: a summary of the run, then its time per step and ETA."""

import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from rich.text import Text
from torch import nn

from lightning_marlhf.callbacks.checkpoint import Checkpoint
from lightning_marlhf.callbacks.eta import Paced
from lightning_marlhf.callbacks.progress import console
from lightning_marlhf.display.text import duration, plural

ADAM_MOMENTS, FP32 = 2, 4  # per weight; bytes
_PACKAGE = "lightning_marlhf"


class StartBanner(Paced, Callback):
    """Prints the plan of a fit, the time of its first batch, and after the second one the time left."""

    def __init__(self) -> None:
        self._ends: list[int] = []  # updates done after the first two batches of this session

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the plan."""
        super().on_train_start(trainer, pl_module)
        assert self.pace is not None
        self._ends = []
        if trainer.is_global_zero:
            lines = plan(trainer, pl_module, total=self.pace.total)
            width = max(map(len, lines))
            for name, line in lines.items():
                console().print(Text.assemble((name.ljust(width), "bold"), f"  {line}"))

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Print how long the first batch took, and at the second one's end how long the run will take."""
        if len(self._ends) == 2 or not trainer.is_global_zero:
            return
        assert self.pace is not None
        step = trainer.global_step
        updates = step - (self._ends[0] if self._ends else self.pace.first_step)
        pace = self.pace.seconds_per_update(step)
        if pace is None or not updates:
            return
        self._ends.append(step)
        elapsed = f"{duration(updates * pace)} ({plural(updates, 'update')})"
        if len(self._ends) == 1:
            console().print(Text(f"first step: {elapsed}{_peak_memory()}"))
        else:
            left = _time_left(self.pace.eta_s(step), trainer.checkpoint_callbacks, pace)
            console().print(Text(f"then {elapsed} a step{left}"))


def _peak_memory() -> str:
    if not torch.cuda.is_available():
        return ""
    peak, there = torch.cuda.max_memory_allocated(), torch.cuda.mem_get_info()[1]
    return f"; peak GPU memory {_bytes(peak)} of {_bytes(there)}"


def _time_left(eta_s: float | None, callbacks: Iterable[Any], seconds_per_update: float) -> str:
    """Return the time left, and the checkpoint interval in time."""
    text = ""
    if eta_s:
        until = time.strftime("%H:%M", time.localtime(time.time() + eta_s))
        text = f": at this pace {duration(eta_s)} to go, until {until}"
    intervals = [each.every for each in callbacks if isinstance(each, Checkpoint)]
    if intervals:
        text += f"; a checkpoint every {duration(intervals[0] * seconds_per_update)}"
    return text


def plan(trainer: Trainer, module: LightningModule, *, total: int | None) -> dict[str, str]:
    """Return the lines of the banner: descriptions of trainer, data and module."""
    resumed = {"resumed": f"after {trainer.global_step:,} updates"} if trainer.global_step else {}
    return {
        "run": f"{trainer.default_root_dir}",
        **resumed,
        "updates": "unlimited" if total is None else f"{total:,}",
        **_described(getattr(trainer, "datamodule", None)),
        **models(module),
        **_described(module),
        "checkpoints": "; ".join(_checkpoints(trainer.checkpoint_callbacks)) or "none",
        "memory": memory_estimate(module),
        "device": _device(trainer),
    }


def models(module: LightningModule) -> dict[str, str]:
    """Name the networks and scorers of a stage, and where they come from."""
    if not hasattr(module, "starts_from"):
        return {}
    trained = next(iter(module.networks())).replace("_", " ")  # type: ignore[operator]
    lines = {trained: _source(module.starts_from)}
    if hasattr(module, "critic_source"):
        new = f"body of the {trained}, new head"
        lines["critic"] = new if module.critic_source is None else _source(module.critic_source)
    if (reference := getattr(module, "reference_source", module.starts_from)) != module.starts_from:
        lines["reference"] = _source(reference)
    if hasattr(module, "scorer"):
        lines["scorer"] = _scorer(module.scorer)
    if others := getattr(module, "auxiliary_scorers", ()):
        lines["auxiliary scorers"] = ", ".join(map(_scorer, others))
    return lines


def _source(source: Any) -> str:
    if isinstance(source, str):
        return source
    kind = getattr(source, "config", {}).get("model_type", "")
    return f"{kind} of an inline config, from scratch"


def _scorer(scorer: Any) -> str:
    model = getattr(scorer, "model", None)
    return f"{scorer.name} ({type(scorer).__name__}{f' {model}' if isinstance(model, str) else ''})"


def memory_estimate(module: nn.Module) -> str:
    """Estimate what weights, gradients and AdamW need; activations come on top.

    AdamW keeps moments in fp32 or better, and for weights in half precision an fp32 copy. Frozen networks count too:
    those that a module keeps outside its children, so that no checkpoint holds them.
    """
    trainable = [w for w in module.parameters() if w.requires_grad]
    networks = [module, *_networks_in(vars(module), depth=4)]
    weights = list({id(w): w for network in networks for w in network.parameters()}.values())
    total = sum(w.numel() * w.element_size() for w in [*weights, *trainable])
    for w in trainable:
        kept = ADAM_MOMENTS + (w.element_size() < FP32)
        total += kept * w.numel() * max(w.element_size(), FP32)
    millions = sum(w.numel() for w in trainable) / 1e6
    frozen = sum(w.numel() for w in weights) / 1e6 - millions
    return (
        f"{_bytes(total)} for weights, gradients and AdamW "
        f"({millions:.3g} M trainable, {frozen:.3g} M frozen); plus activations"
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
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{torch.get_num_threads()} threads"
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
