"""Robust terminal output of long commands, and muted library warnings."""

import errno
import io
import logging
import os
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

_CLOSED_ERRORS = (errno.EPIPE, errno.EIO)  # of a pipe, of a terminal
_KNOWN_WARNINGS = (
    "'set_vital' is deprecated",  # torchdata 0.11 on torch 2.13
    "does not have many workers",
    "is smaller than the logging interval",  # we log every update
    "`isinstance\\(treespec, LeafSpec\\)`",  # Lightning 2.6 on torch 2.13
    "returned a view tensor",  # fully_shard warns of writing in place to log-probabilities
    "torch.distributed.nn.functional.all_gather is deprecated",  # Lightning 2.6 on torch 2.13
    "DTensor random operators may not",  # on CPUs; ours draw on none
)


@contextmanager
def survive_closed_output() -> Iterator[None]:
    """Redirect output to /dev/null once its reader is gone (`fit | head`, a closed terminal), instead of failing."""
    before = sys.stdout, sys.stderr
    if sys.stdout is sys.__stdout__:
        sys.stdout = _lasting(sys.stdout)
    if sys.stderr is sys.__stderr__:
        sys.stderr = _lasting(sys.stderr)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        sys.stdout, sys.stderr = before


class _ClosedSafeFile(io.FileIO):
    def write(self, data: object) -> int:
        try:
            return super().write(data)  # type: ignore[arg-type]
        except OSError as error:
            if error.errno not in _CLOSED_ERRORS:
                raise
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())
            os.close(nowhere)
            return super().write(data)  # type: ignore[arg-type]


def _lasting(stream: io.TextIOWrapper) -> io.TextIOWrapper:
    stream.flush()
    raw = io.BufferedWriter(_ClosedSafeFile(stream.fileno(), "w", closefd=False))
    return io.TextIOWrapper(raw, stream.encoding, stream.errors, line_buffering=True)


@contextmanager
def quiet_threads() -> Iterator[None]:
    """Suppress OSErrors of background threads; the TensorBoard writer re-raises them in the main thread."""
    loud = threading.excepthook

    def tell(args: threading.ExceptHookArgs) -> None:
        if not issubclass(args.exc_type, OSError):
            loud(args)

    threading.excepthook = tell
    try:
        yield
    finally:
        threading.excepthook = loud


def mute_lightning() -> None:
    """Silence Lightning's tips and hints; warnings about a run stay."""
    for name in ("lightning.pytorch", "lightning.fabric", "lightning"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for warning in _KNOWN_WARNINGS:
        warnings.filterwarnings("ignore", message=f".*{warning}.*")
