"""User errors become one line and an exit status; all others keep their traceback."""

import errno
import os
import shlex
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from lightning_marlhf.config import program_name
from lightning_marlhf.config.yaml_files import ConfigError
from lightning_marlhf.display.text import printable

INTERRUPTED = 130  # 128 + SIGINT, as shells report it
DEBUG_VARIABLE = "LIGHTNING_MARLHF_DEBUG"
_USER_ERRORS = (
    "NonFiniteError",
    "MisconfigurationException",
    "SandboxError",
    "ScoringError",
)  # by name: no heavy import for a light command
_PACKAGE = str(Path(__file__).parents[1])


class Interrupted(Exception):  # noqa: N818 - not an error: the user pressed Ctrl-C
    """A resumable command was interrupted; the message tells how to resume."""


@contextmanager
def resumable(kept: str, arguments: Sequence[str]) -> Iterator[None]:
    """Turn Ctrl-C into a message that says how to resume; ``call`` then gives exit status 130.

    Raises:
        Interrupted: Ctrl-C was pressed.
    """
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted(
            f"interrupted: {kept} keeps what is done; resume with:\n  {command_line(arguments)}"
        ) from None


def command_line(arguments: Sequence[str]) -> str:
    """Write the command that resumes this one: the same without --overwrite."""
    words = [word for word in arguments if word != "--overwrite"]
    return f"{program_name()} {shlex.join(words)}"


def debugging() -> bool:
    """Return whether LIGHTNING_MARLHF_DEBUG is set."""
    return os.environ.get(DEBUG_VARIABLE, "") not in ("", "0")


def call(run: Callable[[], int], *, resume_hint: Callable[[], str] = lambda: "") -> int:
    """Call ``run`` and turn a user's mistake into one line on stderr and exit status 1.

    A mistake is a ValueError, a file that cannot be used, a full disk, or memory that does not suffice; with
    `LIGHTNING_MARLHF_DEBUG=1` these keep their traceback too. A wrong command line or YAML gives status 2.

    Args:
        run: Returns the exit status.
        resume_hint: Returns how to resume after a mistake; "" adds nothing.
    """
    try:
        return run()
    except Interrupted as end:
        sys.stderr.write(printable(f"{end}\n"))
        return INTERRUPTED
    except ConfigError as mistake:
        sys.stderr.write(f"error: {printable(str(mistake))}\n")
        return 2
    except Exception as error:
        line = explain(error)
        if line is None or debugging():
            raise
        message_line = printable("; ".join(filter(None, [line, resume_hint()])))
        sys.stderr.write(f"error: {message_line}\n")
        return 1


def explain(error: Exception) -> str | None:
    """Return the one-line message of a user error; None for a bug."""
    message = " ".join(str(error).split())
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    if full or f"(os error {errno.ENOSPC})" in str(error):  # safetensors gives it as text only
        filename = getattr(error, "filename", None)
        return f"the disk is full{f' ({filename})' if filename else ''}: free some space"
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return f"out of memory: make micro-batches, responses or the model smaller ({message})"
    if isinstance(error, RecursionError):
        return f"a file or a setting is nested too deeply ({DEBUG_VARIABLE}=1 shows where)"
    if "DataLoader worker" in message:
        return f"a process that prepares batches died, perhaps out of memory ({message})"
    files = FileNotFoundError | PermissionError | IsADirectoryError | NotADirectoryError
    if isinstance(error, files) or (isinstance(error, OSError) and error.filename):
        return f"{error.strerror or message}: {error.filename}" if error.filename else message
    if not isinstance(error, ValueError) and type(error).__name__ not in _USER_ERRORS:
        return None
    frames = traceback.extract_tb(error.__traceback__)
    is_ours = bool(frames) and frames[-1].filename.startswith(_PACKAGE)
    return message if is_ours else f"{message} ({DEBUG_VARIABLE}=1 shows where)"
