"""Sharded checkpoints on disk: a folder with a file of each process, by torch.distributed.checkpoint."""

import pickle
import warnings
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributed import checkpoint
from torch.distributed.checkpoint.metadata import Metadata, TensorStorageMetadata

REST_FILE = "meta.pt"  # all that is no weight and no moment; Lightning's name
INDEX_FILE = ".metadata"
_BROKEN = (RuntimeError, EOFError, OSError, pickle.UnpicklingError, AttributeError)


class BrokenCheckpointError(ValueError):
    """A checkpoint is not whole; the message names the file."""


def read_index(folder: Path) -> Metadata:
    """Read what is where in a sharded checkpoint, and check that all of it is there.

    Raises:
        BrokenCheckpointError: a file is missing, or shorter than it was.
    """
    try:
        index = checkpoint.FileSystemReader(folder).read_metadata()
    except _BROKEN as error:
        raise _broken(folder / INDEX_FILE, f"cannot be read ({_line(error)})") from None
    sizes: dict[str, int] = defaultdict(int)
    for part in index.storage_data.values():
        sizes[part.relative_path] = max(sizes[part.relative_path], part.offset + part.length)
    for name, size in sizes.items():
        path = folder / name
        there = path.stat().st_size if path.exists() else 0
        if there < size:
            raise _broken(path, f"has {there:,} of its {size:,} bytes")
    return index


def read_rest(folder: Path) -> dict[str, Any]:
    """Read what is no weight and no moment: step, loops, schedules, callbacks, random states.

    Raises:
        BrokenCheckpointError: its file is missing or broken.
    """
    try:
        rest: dict[str, Any] = torch.load(folder / REST_FILE, map_location="cpu")
    except _BROKEN as error:
        raise _broken(folder / REST_FILE, f"cannot be read ({_line(error)})") from None
    return rest


class ShardedWeights:
    """The weights of a sharded checkpoint, read a few at a time by one process.

    Args:
        folder: the checkpoint.

    Raises:
        BrokenCheckpointError: it is not whole.
    """

    _PREFIX = "state_dict."

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._there = read_index(folder).state_dict_metadata

    def __contains__(self, name: str) -> bool:
        """Tell whether the checkpoint has a weight."""
        return isinstance(self._there.get(self._PREFIX + name), TensorStorageMetadata)

    def read(self, names: Sequence[str]) -> dict[str, Tensor]:
        """Read whole weights by name."""
        wanted = {name: self._there[self._PREFIX + name] for name in names}
        tensors = {
            self._PREFIX + name: torch.empty(there.size, dtype=there.properties.dtype)
            for name, there in wanted.items()
        }
        with warnings.catch_warnings():  # that there is one process
            warnings.filterwarnings("ignore", message="torch.distributed is disabled")
            checkpoint.load(tensors, checkpoint_id=self.folder, no_dist=True)
        return {name: tensors[self._PREFIX + name] for name in names}


def _broken(path: Path, what: str) -> BrokenCheckpointError:
    return BrokenCheckpointError(
        f"{path} {what}: the checkpoint is not whole; go on from another (--ckpt_path PATH)"
    )


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
