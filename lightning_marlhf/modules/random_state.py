"""The state of the global random numbers as plain data, which checkpoints can hold."""

import random
from typing import Any

import numpy as np
import torch


def collect() -> dict[str, Any]:
    """Take the states of torch, Python and numpy."""
    name, keys, *numpy_rest = np.random.get_state()  # noqa: NPY002 - the one that users' code draws from
    version, python_keys, gauss = random.getstate()
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "python": [version, list(python_keys), gauss],
        "numpy": [name, [int(key) for key in keys], *numpy_rest],
    }


def restore(state: dict[str, Any]) -> None:
    """Put back what `collect` took."""
    torch.set_rng_state(state["torch"])
    if torch.cuda.is_available() and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])
    version, python_keys, gauss = state["python"]
    random.setstate((version, tuple(python_keys), gauss))
    name, keys, *numpy_rest = state["numpy"]
    np.random.set_state((name, np.array(keys, dtype=np.uint32), *numpy_rest))  # noqa: NPY002
