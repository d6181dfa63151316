"""Starts a child, reads what it says, and ends it when it exceeds a limit; without a look at what goes through.

Everything is read into buffers that are used again and cleared: what one program says is not in the memory from which
the next one is forked.
"""

import math
import os
import select
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from lightning_marlhf.sandbox.inside.libc import LINUX
from lightning_marlhf.sandbox.report import OUTPUT, TIME
from lightning_marlhf.sandbox.verdicts import Limits

_PIDFD = hasattr(os, "pidfd_open")
_CHUNK = 1 << 16
_ZEROS = bytes(_CHUNK)
_STDERR_KEPT = 4096
_SHORTEST_SLEEP_S = 0.002
_WITHOUT_PIDFD_S = 0.01
_CLOSED = select.POLLHUP | select.POLLERR | select.POLLNVAL


class Buffer:
    """Memory for one stream of a child.

    Args:
        limit: Bytes; more is an output limit.
        kept: Bytes of the beginning that are kept, and again as many of the end; None keeps all.
    """

    def __init__(self, limit: int, *, kept: int | None = None) -> None:
        self.limit = limit
        self._kept = kept
        self._memory = memoryview(bytearray((limit if kept is None else 2 * kept) + _CHUNK))
        self.total = self._used = self._dirty = 0

    def read(self, descriptor: int) -> bool:
        """Read what is there; False at the end of the stream, or where nothing is left for now."""
        try:
            size = os.readv(descriptor, [self._memory[self._used : self._used + _CHUNK]])
        except BlockingIOError:
            return False
        self.total += size
        self._used += size
        self._dirty = max(self._dirty, self._used)
        if self._kept is not None and self._used > 2 * self._kept:
            end = self._memory[self._used - self._kept : self._used]
            self._memory[self._kept : 2 * self._kept] = end  # no copy, which would stay in memory
            self._used = 2 * self._kept
        return size > 0

    @property
    def content(self) -> memoryview:
        """The bytes that are kept."""
        return self._memory[: self._used]

    def clear(self) -> None:
        """Overwrite all that was ever read."""
        for start in range(0, self._dirty, _CHUNK):
            used = self._memory[start : start + _CHUNK]
            used[:] = _ZEROS[: len(used)]
        self.total = self._used = self._dirty = 0


class Streams:
    """The buffers of a child's three streams: standard output, standard error, report."""

    def __init__(self, limit: int) -> None:
        self.stdout = Buffer(limit)
        self.stderr = Buffer(limit, kept=_STDERR_KEPT)
        self.report = Buffer(limit)
        self.all = (self.stdout, self.stderr, self.report)

    @property
    def overflow(self) -> bool:
        """Return whether one has more than it may."""
        return any(buffer.total > buffer.limit for buffer in self.all)

    def clear(self) -> None:
        """Forget all."""
        for buffer in self.all:
            buffer.clear()


Body = Callable[[tuple[int, int, int]], None]


def run(body: Body, streams: Streams, *, limits: Limits, lifeline: int) -> tuple[str, int, float]:
    """Run a child to its end.

    Args:
        body: Code of the child, called with the descriptors of its three streams; it ends the process.
        streams: Streams to fill.
        limits: Limits of the child.
        lifeline: A pipe that closes when nobody waits for the child any more; then this process ends.

    Returns:
        The limit for which it was killed or "", its wait status, and the CPU seconds it used.
    """
    pairs = [os.pipe() for _ in streams.all]
    pid = os.fork()
    if pid == 0:
        body(tuple(theirs for _, theirs in pairs))  # type: ignore[arg-type]
        os._exit(1)
    sources = {}
    for (ours, theirs), buffer in zip(pairs, streams.all, strict=True):
        os.close(theirs)
        os.set_blocking(ours, False)
        sources[ours] = buffer
    exceeded = _watch(pid, dict(sources), streams, limits, lifeline)
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    _, status, usage = os.wait4(pid, 0)
    for descriptor, buffer in sources.items():
        while buffer.total <= buffer.limit and buffer.read(descriptor):
            pass
        os.close(descriptor)
    return exceeded or (OUTPUT if streams.overflow else ""), status, usage.ru_utime + usage.ru_stime


def _watch(pid: int, sources: dict[int, Buffer], streams: Streams, limits: Limits, lifeline: int) -> str:
    """Read the streams until the child ends or exceeds a limit; give the limit."""
    deadline = time.monotonic() + limits.wall_s
    with _poll_of(pid, [*sources], lifeline) as poll:
        while not _has_ended(pid):
            left = min(deadline - time.monotonic(), limits.cpu_s - _cpu_s(pid))
            if left <= 0:
                return TIME
            for descriptor, event in poll.poll(_milliseconds(left)):
                if descriptor == lifeline and event & _CLOSED:
                    os.kill(pid, signal.SIGKILL)
                    os.waitpid(pid, 0)
                    os._exit(1)
                if descriptor in sources and not sources[descriptor].read(descriptor):
                    poll.unregister(descriptor)
            if streams.overflow:
                return OUTPUT
    return ""


@contextmanager
def _poll_of(pid: int, sources: list[int], lifeline: int) -> Iterator[select.poll]:
    """Wake up when a stream has something, when the process ends, and when nobody waits for it any more."""
    poll = select.poll()
    pidfd = os.pidfd_open(pid) if _PIDFD else None
    for descriptor in (*sources, *(() if pidfd is None else (pidfd,))):
        poll.register(descriptor, select.POLLIN)
    poll.register(lifeline, 0)
    try:
        yield poll
    finally:
        if pidfd is not None:
            os.close(pidfd)


def _milliseconds(left_s: float) -> int:
    pause = max(left_s, _SHORTEST_SLEEP_S)
    return math.ceil(1000 * (pause if _PIDFD else min(pause, _WITHOUT_PIDFD_S)))


def _has_ended(pid: int) -> bool:
    """Look, and leave it to be waited for."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _cpu_s(pid: int) -> float:
    """Read the CPU clock of a process (Linux: the clock's number is made from the process's)."""
    if not LINUX:
        return 0.0  # RLIMIT_CPU remains
    return time.clock_gettime((~pid << 3) | 2)
