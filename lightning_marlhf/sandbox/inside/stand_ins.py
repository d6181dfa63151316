"""What right programs use and the confinement forbids: the null device, streams by their paths, asyncio's event loop.

No system call is allowed for them: opening the null device opens nothing, `/dev/stdin` is descriptor 0, and the event
loop wakes itself by a pipe where the library would make two sockets.
"""

import builtins
import io
import os
import socket
from asyncio.selector_events import BaseSelectorEventLoop
from typing import Any

_open, _os_open = io.open, os.open
_STREAMS = {
    path: descriptor
    for descriptor, name in enumerate(("stdin", "stdout", "stderr"))
    for path in (f"/dev/{name}", f"/dev/fd/{descriptor}", f"/proc/self/fd/{descriptor}")
}
_make_self_pipe: Any = BaseSelectorEventLoop._make_self_pipe  # type: ignore[attr-defined]


class Null(io.RawIOBase):
    """A stream that forgets what is written to it, and holds nothing."""

    name = os.devnull

    def readable(self) -> bool:
        """Return True: it can be read."""
        return True

    def readinto(self, _: Any) -> int:
        """Be at the end."""
        return 0

    def writable(self) -> bool:
        """Return True: it can be written to."""
        return True

    def write(self, content: Any) -> int:
        """Forget the content."""
        return memoryview(content).nbytes


class PipeEnd:
    """One end of a pipe, as far as the event loop takes it for a socket."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._descriptor

    def setblocking(self, _: bool) -> None:
        """Do nothing: it never blocks."""

    def recv(self, size: int) -> bytes:
        """Read what is there."""
        return os.read(self._descriptor, size)

    def send(self, content: bytes) -> int:
        """Write what there is room for."""
        return os.write(self._descriptor, content)

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self._descriptor)


def install() -> None:
    """Put the stand-ins in place, in the process that becomes the program."""
    builtins.open = io.open = open_or_stand_in
    os.open = _os_open_or_stand_in
    BaseSelectorEventLoop._make_self_pipe = _make_pipe_of_pipes  # type: ignore[attr-defined]


def open_or_stand_in(
    file: Any,
    mode: str = "r",
    buffering: int = -1,
    encoding: str | None = None,
    errors: str | None = None,
    newline: str | None = None,
    closefd: bool = True,
    opener: Any = None,
) -> Any:
    """Open as `open` does, but for the null device and the standard streams."""
    if (stream := _stream(file)) is not None:
        return _open(stream, mode, buffering, encoding, errors, newline, closefd=False)
    if not _is_null(file):
        return _open(file, mode, buffering, encoding, errors, newline, closefd, opener)
    buffer: Any = io.BufferedRWPair(Null(), Null())
    return buffer if "b" in mode else io.TextIOWrapper(buffer, encoding, errors, newline)


def _os_open_or_stand_in(path: Any, flags: int, *arguments: Any, **options: Any) -> int:
    """Open as `os.open` does; what would write to the null device complains: nobody compares that."""
    if (stream := _stream(path)) is not None:
        return os.dup(stream)
    if _is_null(path) and flags & (os.O_WRONLY | os.O_RDWR):
        return os.dup(2)
    return _os_open(path, flags, *arguments, **options)


def _is_null(file: Any) -> bool:
    return isinstance(file, str | os.PathLike) and os.fspath(file) == os.devnull


def _stream(file: Any) -> int | None:
    """Return the descriptor of a standard stream that is named by a path."""
    return _STREAMS.get(os.fspath(file)) if isinstance(file, str | os.PathLike) else None  # type: ignore[call-overload, no-any-return]


def _make_pipe_of_pipes(loop: Any) -> None:
    sockets = socket.socketpair
    socket.socketpair = _pipe  # type: ignore[assignment]
    try:
        _make_self_pipe(loop)
    finally:
        socket.socketpair = sockets


def _pipe() -> tuple[PipeEnd, PipeEnd]:
    reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    return PipeEnd(reader), PipeEnd(writer)
