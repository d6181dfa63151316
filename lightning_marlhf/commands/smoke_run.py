"""`--trainer.fast_dev_run`: a run of two updates that goes through every part of it and leaves nothing behind."""

import atexit
import shutil
import tempfile

from jsonargparse import Namespace

UPDATES = 2
SHORT = {  # ends of settings' names -> what they are in a run of so few updates
    "warmup_steps": 0,
    "warmup_ratio": 0.0,
    "critic_warmup": 0,
    "ppo.epochs": 1,
    "ppo.minibatches": 1,
}


def shorten(config: Namespace) -> None:
    """Make a fit one of `fast_dev_run` updates (True: two), each of a batch or rollout of its own.

    Args:
        config: the resolved config; changed in place. It writes to a folder that goes away with the process, and starts
            anew whatever the run's own folder holds.
    """
    if config.trainer.fast_dev_run is True:
        config.trainer.fast_dev_run = UPDATES
    for key, _ in list(config.model.items()):
        for end, value in SHORT.items():
            if f".{key}".endswith(f".{end}"):
                config.model[key] = value
    config.ckpt_path = None
    config.trainer.default_root_dir = tempfile.mkdtemp(prefix="smoke-run-")
    atexit.register(shutil.rmtree, config.trainer.default_root_dir, ignore_errors=True)
