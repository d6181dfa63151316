"""The filter of system calls, run by a small interpreter of BPF for each processor; its numbers against the headers."""

import os
import platform
import re
import struct
from pathlib import Path

import pytest

from lightning_marlhf.sandbox.inside import seccomp, syscalls

ALLOW, ENOSYS, EACCES, KILL = 0x7FFF0000, 0x50000 | 38, 0x50000 | 13, 0x80000000
ITSELF = 0xC0DEFACE
HEADERS = {
    "x86_64": ("/usr/include/x86_64-linux-gnu/asm/unistd_64.h", "/usr/include/asm/unistd_64.h"),
    "aarch64": ("/usr/include/asm-generic/unistd.h",),
}
BY_ARGUMENT = {
    "open": syscalls.OPEN,
    "openat": syscalls.OPENAT,
    "fcntl": syscalls.FCNTL,
    "ioctl": syscalls.IOCTL,
    "prctl": syscalls.PRCTL,
    "clone": syscalls.CLONE,
    "kill": syscalls.KILL,
    "tgkill": syscalls.TGKILL,
    "prlimit64": syscalls.PRLIMIT64,
}
NUMBERS = syscalls.HARMLESS | BY_ARGUMENT
BESIDES = {
    "seccomp": (317, 277),
    "landlock_create_ruleset": (444, 444),
    "landlock_add_rule": (445, 445),
    "landlock_restrict_self": (446, 446),
}
# Numbers from Linux 6.1, arch/x86/entry/syscalls/syscall_64.tbl and include/uapi/asm-generic/unistd.h.
FORBIDDEN = {
    "fork": (57, None),
    "vfork": (58, None),
    "execve": (59, 221),
    "execveat": (322, 281),
    "clone3": (435, 435),
    "socket": (41, 198),
    "socketpair": (53, 199),
    "connect": (42, 203),
    "sendto": (44, 206),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "pidfd_open": (434, 434),
    "pidfd_getfd": (438, 438),
    "pidfd_send_signal": (424, 424),
    "rt_sigqueueinfo": (129, 138),
    "tkill": (200, 130),
    "setsid": (112, 157),
    "setpgid": (109, 154),
    "creat": (85, None),
    "openat2": (437, 437),
    "truncate": (76, 45),
    "ftruncate": (77, 46),
    "unlinkat": (263, 35),
    "mkdirat": (258, 34),
    "symlinkat": (266, 36),
    "linkat": (265, 37),
    "renameat2": (316, 276),
    "mknodat": (259, 33),
    "fchmod": (91, 52),
    "fchmodat": (268, 53),
    "fchown": (93, 55),
    "utimensat": (280, 88),
    "setxattr": (188, 5),
    "getxattr": (191, 8),
    "chdir": (80, 49),
    "chroot": (161, 51),
    "mount": (165, 40),
    "unshare": (272, 97),
    "setns": (308, 268),
    "open_by_handle_at": (304, 265),
    "memfd_create": (319, 279),
    "io_uring_setup": (425, 425),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "keyctl": (250, 219),
    "shmget": (29, 194),
    "shmat": (30, 196),
    "msgget": (68, 186),
    "semget": (64, 190),
    "mq_open": (240, 180),
    "setuid": (105, 146),
    "capset": (126, 91),
    "personality": (135, 92),
    "sched_setaffinity": (203, 122),
    "sched_setscheduler": (144, 119),
    "setpriority": (141, 140),
    "splice": (275, 76),
    "vmsplice": (278, 75),
    "fallocate": (285, 47),
    "flock": (73, 32),
    "inotify_init1": (294, 26),
    "seccomp": (317, 277),
    "modify_ldt": (154, None),
    "init_module": (175, 105),
    "kexec_load": (246, 104),
    "reboot": (169, 142),
}
machines = pytest.mark.parametrize("machine", syscalls.MACHINES)


def decide(machine, number, *arguments, audit=None):
    """Run the filter as the kernel would, on its view of one call."""
    known = syscalls.MACHINES[machine]
    wide = [*arguments, *[0] * (6 - len(arguments))]
    audit = known.audit if audit is None else audit
    data = struct.pack("<iIQ6Q", number - (number >> 31 << 32), audit, 0, *(each % 2**64 for each in wide))
    program = list(struct.iter_unpack("<HBBI", seccomp.write(known)))
    at = accumulator = 0
    for _ in range(len(program)):
        code, then, otherwise, value = program[at]
        at += 1
        if code == 0x06:
            return value
        if code == 0x20:
            (accumulator,) = struct.unpack_from("<I", data, value)
        else:
            holds = {0x15: accumulator == value, 0x35: accumulator >= value, 0x45: bool(accumulator & value)}[code]
            at += then if holds else otherwise
    raise AssertionError("the filter does not end")


def number(name, machine):
    table = FORBIDDEN if name in FORBIDDEN else NUMBERS
    return table[name][syscalls.MACHINES[machine].column]


@machines
def test_only_calls_that_are_listed_get_through(machine):
    column = syscalls.MACHINES[machine].column
    harmless = {numbers[column] for numbers in syscalls.HARMLESS.values()} - {None}
    by_argument = {numbers[column] for numbers in BY_ARGUMENT.values()} - {None}
    for each in range(600):
        if each not in by_argument:
            assert decide(machine, each) == (ALLOW if each in harmless else ENOSYS), each


@machines
@pytest.mark.parametrize("name", FORBIDDEN)
def test_a_call_that_reaches_outside_is_not_there(machine, name):
    if number(name, machine) is not None:
        assert decide(machine, number(name, machine)) == ENOSYS


@machines
@pytest.mark.parametrize("each", [0, 57, 59, 1 << 31, (1 << 32) - 1])
def test_the_x32_table_is_not_there(machine, each):
    assert decide(machine, 0x40000000 | each) == ENOSYS


@machines
@pytest.mark.parametrize("audit", [0x40000003, 0xC000003E, 0xC00000B7, 0x40000028, 0])
def test_calls_of_another_processor_are_killed(machine, audit):
    killed = audit != syscalls.MACHINES[machine].audit
    read = number("read", machine)
    assert decide(machine, read, audit=audit) == (KILL if killed else ALLOW)


@machines
@pytest.mark.parametrize(
    ("flags", "allowed"),
    [
        (os.O_RDONLY, True),
        (os.O_CLOEXEC | os.O_DIRECTORY | os.O_NONBLOCK, True),
        (os.O_WRONLY, False),
        (os.O_RDWR, False),
        (3, False),
        (os.O_CREAT, False),
        (os.O_TRUNC, False),
        (os.O_TMPFILE, False),
        (0o20000000, False),
        (os.O_APPEND | os.O_WRONLY, False),
        (os.O_WRONLY | 1 << 32, False),
    ],
)
def test_files_open_for_reading_only(machine, flags, allowed):
    wanted = ALLOW if allowed else EACCES
    assert decide(machine, number("openat", machine), -100 % 2**64, 0x1234, flags) == wanted
    if number("open", machine) is not None:
        assert decide(machine, number("open", machine), 0x1234, flags) == wanted


@machines
def test_a_process_signals_and_limits_itself_alone(machine):
    for name in "kill", "tgkill":
        assert decide(machine, number(name, machine), ITSELF) == ALLOW
        for other in 0, 1, -1, -ITSELF, ITSELF + 1:
            assert decide(machine, number(name, machine), other) == EACCES
    assert decide(machine, number("prlimit64", machine), 0) == ALLOW
    assert decide(machine, number("prlimit64", machine), ITSELF) == ALLOW
    assert decide(machine, number("prlimit64", machine), 1) == EACCES


@machines
def test_clone_makes_threads_alone(machine):
    thread = 0x3D0F00  # what glibc asks for
    clone = number("clone", machine)
    assert decide(machine, clone, thread) == ALLOW
    assert decide(machine, clone, 17) == EACCES  # SIGCHLD: fork
    assert decide(machine, clone, 0x10000000 | 17) == EACCES  # CLONE_NEWUSER
    assert decide(machine, clone, 0x10000 << 32) == EACCES


@machines
@pytest.mark.parametrize(
    ("name", "index", "good", "bad"),
    [
        # not F_SETLK, F_SETOWN, F_SETSIG, F_SETOWN_EX, F_SETLEASE, F_NOTIFY, F_SETPIPE_SZ, F_ADD_SEALS
        ("fcntl", 1, [0, 1, 2, 3, 4, 1030, 1032], [6, 8, 10, 15, 1024, 1026, 1031, 1033]),
        # not TIOCSTI, FIOASYNC, FIOSETOWN, SIOCSPGRP, TIOCSCTTY
        ("ioctl", 1, [0x5401, 0x541B], [0x5412, 0x5452, 0x8901, 0x8902, 0x540E]),
        # not PR_SET_PDEATHSIG, SET_DUMPABLE, SET_SECCOMP, CAPBSET_DROP, SET_MM, SUBREAPER, SET_PTRACER
        ("prctl", 0, [3, 15, 16], [1, 4, 22, 24, 35, 36, 0x59616D61]),
    ],
)
def test_calls_of_many_uses_have_harmless_uses_alone(machine, name, index, good, bad):
    for values, wanted in (good, ALLOW), (bad, EACCES):
        for value in values:
            assert decide(machine, number(name, machine), *[0] * index, value) == wanted, value


def test_the_number_of_the_process_is_filled_in_once_for_each_use():
    for machine in syscalls.MACHINES.values():
        assert seccomp.write(machine).count(struct.pack("<I", ITSELF)) == 3


@machines
def test_jumps_stay_within_reach(machine):
    program = seccomp.write(syscalls.MACHINES[machine])
    assert len(program) // 8 < 4096  # BPF_MAXINSNS
    assert len(program) % 8 == 0


@machines
def test_numbers_are_those_of_the_headers(machine):
    header = next((Path(each) for each in HEADERS[machine] if Path(each).exists()), None)
    if header is None:
        pytest.skip(f"no kernel headers for {machine}")
    pattern = r"#define __NR(?:3264)?_(\w+)\s+(\d+)"
    defined = {name: int(value) for name, value in re.findall(pattern, header.read_text())}
    column = syscalls.MACHINES[machine].column
    odd = {"newfstatat": "fstatat", "fstatat": "newfstatat"}
    for name, numbers in (NUMBERS | FORBIDDEN | BESIDES).items():
        if name not in defined and name in odd:
            name = odd[name]
        if name in defined or numbers[column] is not None:
            assert numbers[column] == defined[name], name


@pytest.mark.skipif(platform.machine() not in syscalls.MACHINES, reason="no table for this machine")
def test_the_filter_of_this_machine_is_known():
    seccomp.Filter(platform.machine())
