"""Safe (de)serialisation of checkpoints: tensors, plain Python values and an allowlist, never arbitrary pickles.

A pickle can run any code on loading, so that an untrusted checkpoint would be a program. torch's restricted
unpickler builds tensors, plain Python values and what `SAFE` names, and calls nothing.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch

_OBJECTS = "OV"  # numpy's codes of elements that may be anything
SAFE = (  # numbers and arrays of numpy, which the metrics of callbacks often are
    np.ndarray,
    np.dtype,
    np._core.multiarray._reconstruct,
    np._core.multiarray.scalar,
    *{type(np.dtype(code)) for code in np.typecodes["All"] if code not in _OBJECTS},
)


class BrokenCheckpointError(ValueError):
    """A checkpoint is incomplete, or holds something other than data; the message names the file."""


def read_data(source: Path | IO[bytes], *, name: str = "") -> Any:
    """Read what `write_data` or `torch.save` wrote, onto the CPU, without running any code in it.

    Args:
        source: a file.
        name: what errors call it, if not its path.

    Raises:
        BrokenCheckpointError: it cannot be read, or holds objects that are neither plain data nor `SAFE`; names them.
        OSError: there is no such file, or the like.
    """
    try:
        return _load(source)
    except (OSError, MemoryError):
        raise
    except Exception as error:  # a broken file can raise anything
        foreign = _foreign_classes(source)
        what = f"cannot be read ({one_line(error)})"
        if foreign:
            what = f"holds {foreign}, which is not data and could run code: the file was not loaded"
        raise broken(name or source, what) from None


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a single-file checkpoint, or the metadata of a sharded one; errors as `read_data`."""
    value = read_data(path)
    if not isinstance(value, dict) or not isinstance(value.get("global_step"), int):
        raise broken(path, "is not a training checkpoint")
    return value


def write_data(value: Any, path: Path) -> None:
    """Write what `read_data` reads.

    Raises:
        ValueError: ``value`` holds objects that could not be read again; the file is not kept.
        OSError: the disk is full, or the like; names ``path``.
    """
    try:
        with path.open("wb") as file:
            torch.save(value, file)
    except (OSError, RuntimeError) as error:  # torch wraps OSError in RuntimeError
        cause = next((e for e in _chain(error) if isinstance(e, OSError)), None)
        if cause is None:
            raise
        raise OSError(cause.errno, cause.strerror, str(path)) from error
    try:
        _load(path, mmap=True)  # maps the tensors, and reads nothing of them
    except Exception as error:
        what = _foreign_classes(path) or one_line(error)
        path.unlink()
        raise ValueError(
            f"nothing was saved, as the state of a callback, a schedule or the data is more than data ({what}): "
            "expected numbers, texts, lists, dicts, tensors and numpy arrays from its state_dict()"
        ) from None


def broken(path: object, what: str) -> BrokenCheckpointError:
    """Build the error for a broken checkpoint."""
    return BrokenCheckpointError(f"{path} {what}; resume from another (--ckpt_path PATH)")


def one_line(error: BaseException) -> str:
    """Shorten an error message of torch to one line."""
    text = str(error).rpartition("WeightsUnpickler error: ")[2]
    return " ".join(text.split())[:200] or type(error).__name__


def _load(source: Path | IO[bytes], *, mmap: bool = False) -> Any:
    with torch.serialization.safe_globals(list(SAFE)):
        return torch.load(source, map_location="cpu", weights_only=True, mmap=mmap)


def _foreign_classes(source: Path | IO[bytes]) -> str:
    """Name the classes and functions that a file of `torch.save` asks for and may not have."""
    if not isinstance(source, Path):
        source.seek(0)
    try:
        with torch.serialization.safe_globals(list(SAFE)):
            return ", ".join(sorted(torch.serialization.get_unsafe_globals_in_checkpoint(source)))
    except Exception:  # not even that can be read
        return ""


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
