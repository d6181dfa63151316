"""A seccomp filter that allows what a program of standard input and output needs, and nothing else.

Every call that is not listed answers ENOSYS, to which libraries have a fallback (glibc goes from clone3 to clone, whose
flags a filter can read). So there is no process to start, no file to write or change, no socket, no signal to others.

The numbers of calls are searched as a tree: the kernel runs a filter once for each number when it is installed, and
that is most of what confinement costs.
"""

import ctypes
import os
import struct

from lightning_marlhf.sandbox.inside import syscalls
from lightning_marlhf.sandbox.inside.libc import call
from lightning_marlhf.sandbox.inside.syscalls import Machine

_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06  # BPF instructions
_KILL, _ERRNO = 0x80000000, 0x00050000  # SECCOMP_RET_*
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16  # offsets in struct seccomp_data
_SET_MODE_FILTER = 1

_WRITES = 0o3 | 0o100 | 0o1000 | 0o20000000  # O_WRONLY, O_RDWR; O_CREAT; O_TRUNC; O_TMPFILE
_THREAD = 0x10000  # CLONE_THREAD
_FCNTL = (0, 1, 2, 3, 4, 1030, 1032)  # duplicates, flags, size of a pipe; not F_SETOWN, F_SETSIG
_IOCTL = (0x5401, 0x5413, 0x541B, 0x5450, 0x5451)  # TCGETS, TIOCGWINSZ, FIONREAD, FIONCLEX, FIOCLEX
_PRCTL = (3, 15, 16, 0x53564D41)  # GET_DUMPABLE, SET_NAME, GET_NAME, SET_VMA; not SET_PDEATHSIG
_ITSELF = 0xC0DEFACE  # stands for the number of the process until it is known

_Segment = tuple[int, bytes]  # from this number on, to the next segment's: what to do, which ends in a return


class Filter:
    """The filter for one machine; made once, so that a child only fills in its own number.

    Args:
        machine: One of `syscalls.MACHINES`.

    Raises:
        OSError: it is none of them.
    """

    def __init__(self, machine: str) -> None:
        if machine not in syscalls.MACHINES:
            raise OSError(f"no table of system calls for {machine}: expected {', '.join(syscalls.MACHINES)}")
        self._call = syscalls.SECCOMP[machine]
        self._program = write(syscalls.MACHINES[machine])

    def enter(self) -> None:
        """Bind this process for good, and all that it becomes; it must not be able to gain privileges.

        Raises:
            OSError: the kernel has no seccomp, or does not let us.
        """
        itself = struct.pack("<I", os.getpid())
        program = self._program.replace(struct.pack("<I", _ITSELF), itself)
        content = ctypes.create_string_buffer(program, len(program))
        header = struct.pack("@HxxxxxxP", len(program) // 8, ctypes.addressof(content))
        call(self._call, _SET_MODE_FILTER, 0, ctypes.create_string_buffer(header, len(header)))


def write(machine: Machine) -> bytes:
    """Write the filter as BPF, eight bytes an instruction."""
    table = {
        numbers[machine.column]: _ALLOW for numbers in syscalls.HARMLESS.values() if numbers[machine.column] is not None
    }
    for numbers, block in _BY_ARGUMENT:
        if numbers[machine.column] is not None:
            table[numbers[machine.column]] = block
    return b"".join(
        [
            _step(_LOAD, _ARCHITECTURE),
            _step(_EQUAL, machine.audit, 1, 0),
            _step(_RETURN, _KILL),
            _step(_LOAD, _NUMBER),
            _tree(_segments(table)),
        ]
    )


def _segments(table: dict[int | None, bytes]) -> list[_Segment]:
    """Cut the numbers into runs for which the same is to be done."""
    segments: list[_Segment] = [(0, _NOT_THERE)]
    for number in range(max(filter(None, table)) + 2):
        block = table.get(number, _NOT_THERE)
        if block != segments[-1][1]:
            segments.append((number, block))
    return segments


def _tree(segments: list[_Segment]) -> bytes:
    """Search for the segment of the number that was loaded."""
    if len(segments) == 1:
        return segments[0][1]
    half = len(segments) // 2
    below, above = _tree(segments[:half]), _tree(segments[half:])
    return _step(_AT_LEAST, segments[half][0], len(below) // 8, 0) + below + above


def _step(code: int, value: int, then: int = 0, otherwise: int = 0) -> bytes:
    return struct.pack("<HBBI", code, then, otherwise, value)


_ALLOW = _step(_RETURN, 0x7FFF0000)
_NOT_THERE, _DENIED = _step(_RETURN, _ERRNO | 38), _step(_RETURN, _ERRNO | 13)  # ENOSYS, EACCES


def _argument(index: int) -> bytes:
    """Load the lower half of an argument, which is all that the kernel reads of an int (little endian)."""
    return _step(_LOAD, _ARGUMENTS + 8 * index)


def _without(argument: int, bits: int) -> bytes:
    return _argument(argument) + _step(_ANY_BIT, bits, 0, 1) + _DENIED + _ALLOW


def _with(argument: int, bits: int) -> bytes:
    return _argument(argument) + _step(_ANY_BIT, bits, 0, 1) + _ALLOW + _DENIED


def _one_of(argument: int, *values: int) -> bytes:
    tests = [_step(_EQUAL, value, 0, 1) + _ALLOW for value in values]
    return b"".join([_argument(argument), *tests, _DENIED])


_BY_ARGUMENT = (
    (syscalls.OPEN, _without(1, _WRITES)),
    (syscalls.OPENAT, _without(2, _WRITES)),
    (syscalls.FCNTL, _one_of(1, *_FCNTL)),
    (syscalls.IOCTL, _one_of(1, *_IOCTL)),
    (syscalls.PRCTL, _one_of(0, *_PRCTL)),
    (syscalls.CLONE, _with(0, _THREAD)),
    (syscalls.KILL, _one_of(0, _ITSELF)),
    (syscalls.TGKILL, _one_of(0, _ITSELF)),
    (syscalls.PRLIMIT64, _one_of(0, _ITSELF, 0)),
)
