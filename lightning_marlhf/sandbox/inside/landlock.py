"""Landlock: of all files, only the standard library can be read; no TCP, no signals and no sockets out of the sandbox.

Source: Linux, include/uapi/linux/landlock.h and Documentation/userspace-api/landlock.rst.
"""

import ctypes
import os
import struct
from collections.abc import Iterable
from contextlib import suppress

from lightning_marlhf.sandbox.inside import syscalls
from lightning_marlhf.sandbox.inside.libc import call

_VERSION = 1  # LANDLOCK_CREATE_RULESET_VERSION
_PATH_BENEATH = 1
_READ_FILE, _READ_DIR = 1 << 2, 1 << 3
_RIGHTS_OF_FILES = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}  # how many there are, by version
_TCP, _TCP_SINCE = 0b11, 4
_SCOPES, _SCOPES_SINCE = 0b11, 6


def version() -> int:
    """Ask the kernel for its version of Landlock; 0 where it has none."""
    try:
        return call(syscalls.LANDLOCK_CREATE_RULESET, None, 0, _VERSION)
    except OSError:
        return 0


def make_ruleset(readable: Iterable[str]) -> int:
    """Make rules under which only these folders and files can be read.

    Returns:
        A descriptor for `enter`.

    Raises:
        OSError: the kernel has no Landlock.
    """
    known = version()
    files = (1 << _RIGHTS_OF_FILES[min(max(known, 1), 5)]) - 1
    attributes = struct.pack(
        "=QQQ", files, _TCP if known >= _TCP_SINCE else 0, _SCOPES if known >= _SCOPES_SINCE else 0
    )
    ruleset = call(
        syscalls.LANDLOCK_CREATE_RULESET, ctypes.create_string_buffer(attributes, len(attributes)), len(attributes), 0
    )
    for path in readable:
        with suppress(FileNotFoundError):
            _allow(ruleset, path)
    return ruleset


def enter(ruleset: int) -> None:
    """Bind this process for good; it must not be able to gain privileges.

    Raises:
        OSError: what the kernel says.
    """
    call(syscalls.LANDLOCK_RESTRICT_SELF, ruleset, 0)


def _allow(ruleset: int, path: str) -> None:
    rights = _READ_FILE | (_READ_DIR if os.path.isdir(path) else 0)
    descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    rule = struct.pack("=Qi", rights, descriptor)
    try:
        call(syscalls.LANDLOCK_ADD_RULE, ruleset, _PATH_BENEATH, ctypes.create_string_buffer(rule, len(rule)), 0)
    finally:
        os.close(descriptor)
