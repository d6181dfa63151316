"""What an attack is: a program, and the verdicts that are right for it."""

import re
from dataclasses import dataclass

from lightning_marlhf.sandbox.verdicts import ProgramVerdict

PASSED = ProgramVerdict.PASSED
WRONG = ProgramVerdict.WRONG_ANSWER
ERROR = ProgramVerdict.RUNTIME_ERROR
TIME = ProgramVerdict.TIME_LIMIT
MEMORY = ProgramVerdict.MEMORY_LIMIT
OUTPUT = ProgramVerdict.OUTPUT_LIMIT
COMPILE = ProgramVerdict.COMPILE_ERROR

# `T` says where the targets are. `must` raises where a call is refused, and not where the kernel looked at its
# arguments and disliked them: such a call got through.
_LIBC = """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)

def must(result):
    if result in (-1, None, 2**64 - 1):
        if ctypes.get_errno() not in (1, 13, 38):
            sys.exit(print("got through to the kernel:", os.strerror(ctypes.get_errno())))
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result

def syscall(number, *arguments):
    wide = [ctypes.c_long(each) if isinstance(each, int) else each for each in arguments]
    return must(libc.syscall(ctypes.c_long(number), *wide))

def by_machine(x86, arm):
    return x86 if os.uname().machine == "x86_64" else arm
"""
_TARGETS = "import json, os, sys\nT = json.loads(sys.stdin.readline())\n"


@dataclass(frozen=True)
class Attack:
    """A program that must not get its way.

    Attributes:
        name: says what it tries.
        program: its source.
        right: verdicts; a test expects an output that nobody can guess, so that passing is never right.
        function: to call; None: a script.
    """

    name: str
    program: str
    right: frozenset[ProgramVerdict]
    function: str | None = None


def bare(name: str, program: str, *right: ProgramVerdict) -> Attack:
    """Write a script that needs no tools."""
    return Attack(name, program, frozenset(right))


def script(name: str, program: str, *right: ProgramVerdict) -> Attack:
    """Write a script that has tools and targets; without verdicts, one that must end with an exception."""
    tools = _LIBC if re.search(r"libc|must|syscall|ctypes", program) else ""
    return Attack(name, _TARGETS + tools + program, frozenset(right or {ERROR}))


def call(name: str, program: str, *right: ProgramVerdict) -> Attack:
    """Write a program whose function `f` is called with the targets."""
    return Attack(name, program, frozenset(right), function="f")
