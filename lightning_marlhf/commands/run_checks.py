"""Checks of a run's configuration before anything is built.

Invalid trainer settings, smoke runs (fast_dev_run), SLURM variables.
"""

import atexit
import os
import pydoc
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jsonargparse import Namespace

from lightning_marlhf.config.jsonargparse_errors import find_given
from lightning_marlhf.config.yaml_files import ConfigError
from lightning_marlhf.modules.precision import check_precision
from lightning_marlhf.ranges import Range
from lightning_marlhf.sandbox.pool import available_cpus

PROCESSES_PER_CORE = 4  # more would thrash
TRAINER_RANGES = {
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
SMOKE_UPDATES = 2
SMOKE_SETTINGS = {  # ends of settings' names -> what they are in a run of so few updates
    "warmup_steps": 0,
    "warmup_ratio": 0.0,
    "critic_warmup": 0,
    "ppo.epochs": 1,
    "ppo.minibatches": 1,
}
_INTERACTIVE_STEP = "4294967290"  # the shell of an salloc


def check_run(config: Namespace, arguments: Sequence[str], *, linked: Sequence[str], here: bool) -> None:
    """Check the run directory, the seeds and the trainer.

    Args:
        config: The resolved configuration.
        arguments: The command line that it was read from.
        linked: Settings that `seed_everything` sets.
        here: The run is to start on this machine, whose processors count.

    Raises:
        ConfigError: Names the setting, what was expected and what it is.
    """
    trainer = config.trainer.as_dict()
    if not trainer["default_root_dir"]:
        example = "e.g. --trainer.default_root_dir runs/mine"
        raise ConfigError(f"trainer.default_root_dir is missing: the folder of this run, {example}")
    for path in linked:
        given = find_given(arguments, path)
        seed = config.seed_everything
        if given and given[1] is not None and str(given[1]) != str(seed):
            raise ConfigError(f"{path}: {given[1]} differs from seed_everything ({seed}), which sets it")
    _check_trainer(trainer)
    if here:
        _check_processes(trainer["accelerator"], trainer["devices"])


def check_stage(config: Namespace) -> None:
    """Refuse data of another stage than the module reads.

    Raises:
        ConfigError: Names the stages that the module reads.
    """
    module = pydoc.locate(config.model.class_path)
    stages, stage = getattr(module, "stages", ()), config.get("data.init_args.stage")
    if stages and stage is not None and stage not in stages:
        name = config.model.class_path.rpartition(".")[2]
        raise ConfigError(f"data.init_args.stage: expected {' or '.join(stages)} for {name}, got {stage}")


def _check_trainer(settings: Mapping[str, Any]) -> None:
    for name, allowed in TRAINER_RANGES.items():
        number = settings.get(name)
        if isinstance(number, int | float) and number not in allowed:
            raise ConfigError(f"trainer.{name}: expected {allowed}, got {number}")
    if settings.get("gradient_clip_val") is not None:
        raise ConfigError(
            "trainer.gradient_clip_val: has no effect, since the modules clip gradients themselves: set "
            "model.init_args.optimization.max_grad_norm"
        )
    interval = settings.get("val_check_interval")
    if isinstance(interval, float) and interval > 1:
        raise ConfigError(
            f"trainer.val_check_interval: expected a fraction of an epoch or a number of batches, got {interval}"
        )
    if isinstance(interval, int | float) and not interval > 0:  # Lightning divides by it
        raise ConfigError(
            f"trainer.val_check_interval: expected more than 0, got {interval}; limit_val_batches: 0 switches "
            "validation off"
        )
    try:
        check_precision(settings.get("precision"))
    except ValueError as mistake:
        raise ConfigError(str(mistake)) from None


def _check_processes(accelerator: Any, devices: Any) -> None:
    """Refuse more processes than the processors can run; GPUs are counted by Lightning."""
    on_cpu = accelerator == "cpu" or (accelerator in ("auto", None) and not torch.accelerator.is_available())
    if not on_cpu or devices in (None, "auto") or isinstance(devices, list):
        return
    cores = available_cpus()
    most = PROCESSES_PER_CORE * cores
    if not str(devices).isdecimal() or not 1 <= int(devices) <= most:
        raise ConfigError(
            f"trainer.devices: expected 1 to {most} processes on the {cores} cores of this machine, got {devices}"
        )


def apply_fast_dev_run(config: Namespace) -> None:
    """Turn a fit into a smoke run of `fast_dev_run` updates (True: two), one batch or rollout each.

    Args:
        config: The resolved config; changed in place. The run writes to a folder that is deleted with the process, and
            starts anew whatever its own folder holds.
    """
    if config.trainer.fast_dev_run is True:
        config.trainer.fast_dev_run = SMOKE_UPDATES
    for key, _ in list(config.model.items()):
        for end, value in SMOKE_SETTINGS.items():
            if f".{key}".endswith(f".{end}"):
                config.model[key] = value
    config.ckpt_path = None
    config.trainer.default_root_dir = tempfile.mkdtemp(prefix="smoke-run-")
    atexit.register(shutil.rmtree, config.trainer.default_root_dir, ignore_errors=True)


def tasks_without_srun(environment: Mapping[str, str] = os.environ) -> int | None:
    """Return how many tasks SLURM allocated if it has not started this process as one of them; else None.

    In a batch script and in an `salloc`, SLURM sets the variables from which Lightning takes ranks; but only `srun`
    starts processes, as a step of the job.
    """
    tasks = environment.get("SLURM_NTASKS")
    started_by_srun = environment.get("SLURM_STEP_ID", _INTERACTIVE_STEP) != _INTERACTIVE_STEP
    if tasks is None or started_by_srun or "TORCHELASTIC_RUN_ID" in environment:
        return None
    return int(tasks) if tasks.isdecimal() else 1
