"""Sharded checkpoints on disk: a folder with a file of each process, by torch.distributed.checkpoint.

The index is JSON instead of a pickle, and non-tensor state is loaded safely.
"""

import io
import json
import os
import pickle
import warnings
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributed import checkpoint
from torch.distributed.checkpoint._traverse import set_element
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.default_planner import DefaultLoadPlanner
from torch.distributed.checkpoint.filesystem import _StorageInfo
from torch.distributed.checkpoint.metadata import (
    BytesStorageMetadata,
    ChunkStorageMetadata,
    Metadata,
    MetadataIndex,
    StorageMeta,
    TensorProperties,
    TensorStorageMetadata,
)
from torch.distributed.checkpoint.planner import ReadItem
from torch.distributed.checkpoint.storage import WriteResult

from lightning_marlhf.models.safe_checkpoint import broken, one_line, read_checkpoint, read_data

METADATA_FILE = "meta.pt"  # state other than weights and optimizer moments; Lightning's name
INDEX_FILE = ".metadata"
_WRONG = (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError)


class Writer(checkpoint.FileSystemWriter):
    """Writes each process's shard, and an index that is data."""

    def finish(self, metadata: Metadata, results: list[list[WriteResult]]) -> None:
        """Write the index, once all shards are written."""
        places = {r.index: r.storage_data for shard in results for r in shard}
        text = json.dumps(
            {name: _describe(name, stored, places) for name, stored in metadata.state_dict_metadata.items()}
        )
        with (Path(self.path) / INDEX_FILE).open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())


class Reader(checkpoint.FileSystemReader):
    """Reads what `Writer` wrote."""

    def read_metadata(self, *args: Any, **kwargs: Any) -> Metadata:
        """Read the index, and check that all files that it names exist."""
        return read_index(Path(self.path))


class _DataPlanner(DefaultLoadPlanner):
    """Reads non-tensor values such as learning rates, as data; the library would unpickle it."""

    def load_bytes(self, read_item: ReadItem, value: io.BytesIO) -> None:
        name = read_item.dest_index.fqn
        set_element(self.original_state_dict, self.mappings[name], read_data(value, name=name))


def load(state: dict[str, Any], folder: Path, *, no_dist: bool = False) -> None:
    """Fill the tensors and values of ``state`` from a sharded checkpoint.

    Raises:
        BrokenCheckpointError: it is incomplete, or holds something other than data.
    """
    with first_failure():
        checkpoint.load(state, storage_reader=Reader(folder), planner=_DataPlanner(), no_dist=no_dist)


@contextmanager
def first_failure() -> Iterator[None]:
    """Raise the first rank's exception instead of the collected traces."""
    try:
        yield
    except CheckpointException as error:
        raise next(iter(error.failures.values()))[0] from error


def read_index(folder: Path) -> Metadata:
    """Read the index of a sharded checkpoint, and check that its files are complete.

    Raises:
        BrokenCheckpointError: a file is missing, or shorter than it was, or the index is none.
    """
    path = folder / INDEX_FILE
    try:
        content = path.read_bytes()
        if content.startswith(pickle.PROTO):
            raise ValueError("a pickle, which could run code, as earlier versions wrote it")
        index = _parse(json.loads(content))
    except _WRONG as error:
        raise broken(path, f"cannot be read ({one_line(error)})") from None
    sizes: dict[str, int] = defaultdict(int)
    for part in index.storage_data.values():
        sizes[part.relative_path] = max(sizes[part.relative_path], part.offset + part.length)
    for name, size in sizes.items():
        path = folder / name
        there = path.stat().st_size if path.is_file() else 0
        if there < size:
            raise broken(path, f"has {there:,} of its {size:,} bytes")
    return index


def read_metadata_file(folder: Path) -> dict[str, Any]:
    """Read what is no weight and no moment: step, loops, schedules, callbacks, random states.

    Raises:
        BrokenCheckpointError: its file is missing or broken, or holds something other than data.
    """
    path = folder / METADATA_FILE
    if not path.is_file():
        raise broken(path, "is missing")
    return read_checkpoint(path)


class ShardedWeights:
    """The weights of a sharded checkpoint, read a few at a time by one process.

    Args:
        folder: the checkpoint.

    Raises:
        BrokenCheckpointError: it is incomplete.
    """

    _PREFIX = "state_dict."

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._there = read_index(folder).state_dict_metadata

    def __contains__(self, name: str) -> bool:
        """Return whether the checkpoint has a weight."""
        return isinstance(self._there.get(self._PREFIX + name), TensorStorageMetadata)

    def read(self, names: Sequence[str]) -> dict[str, Tensor]:
        """Read full weights by name."""
        wanted = {name: self._there[self._PREFIX + name] for name in names}
        tensors = {
            self._PREFIX + name: torch.empty(there.size, dtype=there.properties.dtype) for name, there in wanted.items()
        }
        with warnings.catch_warnings():  # about a single process
            warnings.filterwarnings("ignore", message="torch.distributed is disabled")
            load(tensors, self.folder, no_dist=True)
        return {name: tensors[self._PREFIX + name] for name in names}


def _describe(name: str, stored: Any, places: Mapping[MetadataIndex, _StorageInfo]) -> dict[str, Any]:
    """Write an entry of the index as JSON."""
    if isinstance(stored, BytesStorageMetadata):
        return {"parts": [_place(places[MetadataIndex(name)])]}
    parts = [
        {**_place(places[MetadataIndex(name, part.offsets)]), "start": list(part.offsets), "size": list(part.sizes)}
        for part in stored.chunks
    ]
    dtype = str(stored.properties.dtype).removeprefix("torch.")
    return {"dtype": dtype, "size": list(stored.size), "parts": parts}


def _place(info: _StorageInfo) -> dict[str, Any]:
    return {"file": info.relative_path, "at": info.offset, "length": info.length}


def _parse(entries: Mapping[str, Any]) -> Metadata:
    """Read the index from JSON; what is none fails in one of the ways of `_WRONG`."""
    names: dict[str, Any] = {}
    places: dict[MetadataIndex, _StorageInfo] = {}
    for name, entry in entries.items():
        parts = entry["parts"]
        names[name] = _tensor(entry) if "dtype" in entry else BytesStorageMetadata()
        for at, part in enumerate(parts):
            file = part["file"]
            if Path(file).name != file or min(part["at"], part["length"]) < 0:
                raise ValueError(f"{file!r} is not one of its files")
            index = (part["start"], at) if "dtype" in entry else ()
            places[MetadataIndex(name, *index)] = _StorageInfo(file, part["at"], part["length"])
    return Metadata(state_dict_metadata=names, storage_data=places, storage_meta=StorageMeta())


def _tensor(entry: Mapping[str, Any]) -> TensorStorageMetadata:
    dtype = getattr(torch, entry["dtype"])
    if not isinstance(dtype, torch.dtype):
        raise TypeError(f"{entry['dtype']!r} is no dtype")
    return TensorStorageMetadata(
        properties=TensorProperties(dtype=dtype),
        size=torch.Size(entry["size"]),
        chunks=[ChunkStorageMetadata(torch.Size(part["start"]), torch.Size(part["size"])) for part in entry["parts"]],
    )
