"""Refuses settings of the trainer that Lightning takes and that cannot work, before anything is built."""

from collections.abc import Mapping
from typing import Any

import torch

from lightning_marlhf.config.yaml_files import ConfigError
from lightning_marlhf.modules.precision import check_precision
from lightning_marlhf.ranges import Range
from lightning_marlhf.sandbox.pool import available_cpus

PROCESSES_PER_CORE = 4  # more only take each other's memory and time
RANGES = {
    "check_val_every_n_epoch": Range(at_least=1),
    "fast_dev_run": Range(at_least=0),
    "log_every_n_steps": Range(at_least=0),
    "max_epochs": Range(at_least=-1),
    "max_steps": Range(at_least=-1),
    "min_epochs": Range(at_least=0),
    "min_steps": Range(at_least=0),
    "num_nodes": Range(at_least=1),
    "num_sanity_val_steps": Range(at_least=-1),
    "reload_dataloaders_every_n_epochs": Range(at_least=0),
}


def check_trainer(settings: Mapping[str, Any], *, here: bool) -> None:
    """Check numbers, precision and processes.

    Args:
        settings: the trainer's arguments.
        here: the run is to start on this machine, whose processors count.

    Raises:
        ConfigError: names the setting, what was expected and what it is.
    """
    for name, allowed in RANGES.items():
        number = settings.get(name)
        if isinstance(number, int | float) and number not in allowed:
            raise ConfigError(f"trainer.{name}: expected {allowed}, got {number}")
    _check_interval(settings.get("val_check_interval"))
    try:
        check_precision(settings.get("precision"))
    except ValueError as mistake:
        raise ConfigError(str(mistake)) from None
    if here:
        _check_processes(settings.get("accelerator"), settings.get("devices"))


def _check_interval(interval: Any) -> None:
    """Refuse to validate every 0 batches, by which Lightning divides, or after more than an epoch's share."""
    if isinstance(interval, float) and interval > 1:
        raise ConfigError(
            f"trainer.val_check_interval: expected a share of an epoch, or a whole number of batches, got {interval}"
        )
    if isinstance(interval, int | float) and not interval > 0:
        raise ConfigError(
            f"trainer.val_check_interval: expected more than 0, got {interval}; limit_val_batches: 0 switches "
            "validation off"
        )


def _check_processes(accelerator: Any, devices: Any) -> None:
    """Refuse more processes than the processors can run; GPUs are counted by Lightning."""
    on_cpu = accelerator == "cpu" or (
        accelerator in ("auto", None) and not torch.accelerator.is_available()
    )
    cores = available_cpus()
    if devices is None or devices == "auto" or isinstance(devices, list):
        return
    try:
        count: int | None = int(devices)
    except ValueError:
        count = None
    most = PROCESSES_PER_CORE * cores
    if on_cpu and (count is None or not 1 <= count <= most):
        raise ConfigError(
            f"trainer.devices: expected 1 to {most} processes on the {cores} cores of this machine, got {devices}"
        )
