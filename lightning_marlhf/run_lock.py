"""The lock of a folder, such as a run's: one process at a time writes there. It ends with its process in any case.

It is the system's (`flock`) on a file that says who holds it. The file is there while the lock is held; one that a kill
left behind holds nothing. The library `filelock` says who holds a lock only as far as a caller writes it, and cannot
hand a lock that is held to a child process, which `studies` does: a run that outlives `reproduce` keeps its folder.
"""

import contextlib
import fcntl
import json
import os
import shlex
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from lightning_marlhf.run_folder import LOCK_FILE

VARIABLE = "LIGHTNING_MARLHF_RUN_LOCK"  # descriptor of a lock that a process was started with
_ATTEMPTS = 10


class InUseError(ValueError):
    """Another process writes to the folder.

    Attributes:
        holder: Description of the other process.
    """

    def __init__(self, folder: Path, holder: str) -> None:
        self.holder = holder
        super().__init__(f"{folder} is in use by {holder}: wait until that ends, or stop it, or choose another folder")


@contextmanager
def alone_in(folder: Path, *, name: str = LOCK_FILE) -> Iterator[None]:
    """Hold the lock of a folder.

    Raises:
        InUseError: another process holds it.
        OSError: nothing may be written there.
    """
    lock = take(folder, name=name)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            (folder / name).unlink()
        os.close(lock)


def take(folder: Path, *, name: str = LOCK_FILE) -> int:
    """Take the lock of a folder, or the one that this process was started with.

    Returns:
        A descriptor; the lock is held until all copies of it are closed, those of child processes too.

    Raises:
        InUseError: another process holds it.
        OSError: nothing may be written there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    if (inherited := _inherited(path)) is not None:
        return inherited
    for _ in range(_ATTEMPTS):
        lock = _open(path)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            raise InUseError(folder, _describe(path)) from None
        except OSError:  # a file system without locks
            break
        if _is(lock, path):  # or it was given back, and its file removed, in between
            break
        os.close(lock)
    say_who(lock, pid=os.getpid(), command=["python", "-m", "lightning_marlhf", *sys.argv[1:]])
    return lock


def say_who(lock: int, *, pid: int, command: Sequence[str]) -> None:
    """Write into a lock's file who holds it."""
    since = time.strftime("%Y-%m-%d %H:%M:%S")
    who = {"pid": pid, "host": socket.gethostname(), "since": since, "command": shlex.join(command)}
    with contextlib.suppress(OSError):  # a full disk: the lock is held all the same
        os.pwrite(lock, json.dumps(who).encode() + b"\n", 0)  # one write; the rest is stale


def holder(folder: Path) -> str | None:
    """Return the owner of a folder's lock, or None. A stale file is removed."""
    if not (folder / LOCK_FILE).exists():
        return None
    try:
        with alone_in(folder):
            return None
    except InUseError as error:
        return error.holder
    except OSError:
        return None


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except PermissionError:
        if not path.exists():
            raise
        # another user's, which a kill left behind: it can be locked, too
        return os.open(path, os.O_RDONLY)


def _inherited(path: Path) -> int | None:
    try:
        lock = int(os.environ[VARIABLE])
        if not _is(lock, path):
            return None
        os.set_inheritable(lock, False)
    except (KeyError, ValueError, OSError):
        return None
    return lock


def _is(lock: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(lock), path.stat())
    except FileNotFoundError:
        return False


def _describe(path: Path) -> str:
    try:
        who = json.loads(path.read_text(encoding="utf-8").partition("\n")[0])
        return f"process {who['pid']} on {who['host']} since {who['since']} ({who['command']})"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
