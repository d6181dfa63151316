"""Calls of the C library and of the kernel that Python has no function for."""

import ctypes
import os
import sys
from typing import Any

LINUX = sys.platform.startswith("linux")

_libc = ctypes.CDLL(None, use_errno=True)
_CAPABILITY_VERSION = 0x20080522


def call(number: int, *arguments: Any) -> int:
    """Make a system call.

    Raises:
        OSError: what the kernel says.
    """
    return _checked(_libc.syscall(ctypes.c_long(number), *map(_wide, arguments)))


def prctl(option: int, *arguments: int) -> int:
    """Change how the kernel treats this process.

    Raises:
        OSError: what the kernel says.
    """
    return _checked(_libc.prctl(option, *map(ctypes.c_ulong, (*arguments, 0, 0, 0, 0)[:4])))


def keep_capabilities(kept: int) -> None:
    """Drop the privileges of root, except the capabilities with these bits (of the first 32).

    Raises:
        OSError: what the kernel says.
    """
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0)
    sets = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable; then those above 32
    _checked(_libc.capget(header, sets))
    _checked(_libc.capset(header, (ctypes.c_uint32 * 6)(sets[0] & kept, sets[1] & kept)))


def _wide(value: Any) -> Any:
    return ctypes.c_long(value) if isinstance(value, int) else value


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return int(result)
