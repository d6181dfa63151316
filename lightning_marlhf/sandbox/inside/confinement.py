"""What a child gives up before it becomes the program: descriptors, resources, files, system calls."""

import fcntl
import math
import mmap
import os
import platform
import resource
import signal
import tempfile
from typing import Any

from lightning_marlhf.sandbox.inside import landlock, seccomp
from lightning_marlhf.sandbox.inside.libc import LINUX, keep_capabilities, prctl
from lightning_marlhf.sandbox.verdicts import Limits

REPORT = 3  # the child's descriptor for its report, beside standard input, output and error
_MOST_THREADS = 4096  # of the user, for the kernel counts them by user
_MOST_DESCRIPTORS = 64
_ABOVE_ALL = 100  # descriptors that a worker has open
_STACK = 64 << 20
_PDEATHSIG, _DUMPABLE, _NO_NEW_PRIVS = 1, 4, 38
_CAP_DAC_READ_SEARCH = 1 << 2


class Confinement:
    """Prepared once in the worker, entered by each child.

    Args:
        readable: Folders and files that programs may read.
        use_landlock: Confine reading.
        use_seccomp: Confine system calls.

    Raises:
        OSError: the kernel lacks what is asked for.
    """

    def __init__(self, readable: list[str], *, use_landlock: bool, use_seccomp: bool) -> None:
        self._ruleset = landlock.make_ruleset(readable) if use_landlock else None
        self._filter = seccomp.Filter(platform.machine()) if use_seccomp else None
        self._address_space = 0

    def measure(self) -> None:
        """Note how much address space the worker itself takes, after all that it preloads."""
        self._address_space = _address_space()

    def enter(self, given: bytes, ends: tuple[int, int, int], limits: Limits) -> None:
        """Drop all privileges; what comes next may be hostile.

        Args:
            given: Standard input.
            ends: Descriptors that become standard output, error and `REPORT`; all others are closed.
            limits: Limits of resources.
        """
        os.setsid()
        ruleset = self._take_descriptors(_file_of(given), ends)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGXCPU):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        self._limit(limits)
        if ruleset is not None:
            landlock.enter(ruleset)
            os.close(ruleset)
        if self._filter is not None:
            self._filter.enter()

    def _take_descriptors(self, stdin: int, ends: tuple[int, int, int]) -> int | None:
        # First above all numbers that are taken next, so that none is overwritten before it is copied.
        kept = [stdin, *ends] if self._ruleset is None else [stdin, *ends, self._ruleset]
        high = [fcntl.fcntl(each, fcntl.F_DUPFD, _ABOVE_ALL) for each in kept]
        for target, descriptor in enumerate(high):
            os.dup2(descriptor, target)
        os.closerange(len(high), _ABOVE_ALL + len(high))
        return None if self._ruleset is None else REPORT + 1

    def _limit(self, limits: Limits) -> None:
        cpu = math.ceil(limits.cpu_s)
        _set(resource.RLIMIT_CPU, cpu, cpu + 1)
        _set(resource.RLIMIT_AS, self._address_space + (limits.memory_mb << 20))
        _set(resource.RLIMIT_STACK, _STACK, resource.getrlimit(resource.RLIMIT_STACK)[1])
        _set(resource.RLIMIT_FSIZE, 0)
        _set(resource.RLIMIT_CORE, 0)
        _set(resource.RLIMIT_NOFILE, _MOST_DESCRIPTORS)
        _set(resource.RLIMIT_NPROC, _MOST_THREADS)


def harden(*, become: int | None) -> None:
    """Make the worker unreachable for its children, and take its privileges.

    Args:
        become: The user to be from now on; None stays.
    """
    if become is not None:
        os.setgroups([])
        os.setresgid(become, become, become)
        os.setresuid(become, become, become)
    if LINUX:
        # Root that stays root can still read an interpreter that is another user's, but not raise its own limits.
        keep_capabilities(_CAP_DAC_READ_SEARCH)
        prctl(_DUMPABLE, 0)
        prctl(_NO_NEW_PRIVS, 1)


def die_with(parent: int) -> None:
    """Be killed when the parent process dies."""
    if LINUX:
        prctl(_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os.kill(os.getpid(), signal.SIGKILL)


def _file_of(content: bytes) -> int:
    """Open a file in memory with this content, at its beginning."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("stdin")
    else:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def _set(limit: Any, soft: int, hard: int | None = None) -> None:
    """Lower a limit; never above what was allowed before."""
    allowed = resource.getrlimit(limit)[1]
    wanted = soft if hard is None else hard
    if allowed != resource.RLIM_INFINITY:
        wanted = allowed if wanted == resource.RLIM_INFINITY else min(wanted, allowed)
        soft = min(soft, allowed)
    resource.setrlimit(limit, (soft, wanted))


def _address_space() -> int:
    """Find the bytes of address space of this process: the limit at which it gets no further page.

    There is no /proc to read it from.
    """
    limit, hard = resource.getrlimit(resource.RLIMIT_AS)
    low, high = 0, 1 << 40
    while high - low > 1 << 20:
        middle = (low + high) // 2
        resource.setrlimit(resource.RLIMIT_AS, (middle, hard))
        try:
            mmap.mmap(-1, mmap.PAGESIZE).close()
            high = middle
        except (OSError, MemoryError):
            low = middle
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
    return high
