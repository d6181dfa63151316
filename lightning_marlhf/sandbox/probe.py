"""Find the highest level of isolation that works here: not by version numbers, but by attacks that must fail."""

import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lightning_marlhf.sandbox.levels import EXPLANATIONS, Level, candidates
from lightning_marlhf.sandbox.verdicts import Limits, SandboxError
from lightning_marlhf.sandbox.worker import Worker

_LETS_THROUGH: dict[str, set[str]] = {"A": set(), "B": set(), "C": {"read", "environment"}}

_ATTACKS = """
import os, signal, socket

folder, port, trainer = input(), int(input()), int(input())

def read(): open(folder + "/secret").read()
def write(): open(folder + "/written", "w").close()
def truncate(): os.truncate(folder + "/secret", 0)
def remove(): os.remove(folder + "/secret")
def link(): os.symlink("/", folder + "/link")
def mode(): os.chmod(folder, 0o777)
def connect(): socket.create_connection(("127.0.0.1", port), timeout=1)
def abstract(): socket.socket(socket.AF_UNIX).connect("\\0" + folder)
def process():
    if os.fork() == 0:
        os._exit(0)
def execute(): os.posix_spawn("/bin/true", ["true"], {})
def signals(): os.kill(trainer, 0)
def parent(): os.kill(os.getppid(), 0)
def environment(): open(f"/proc/{trainer}/environ").read()

attacks = read, write, truncate, remove, link, mode, connect, abstract, process, execute, signals, parent, environment
for attack in attacks:
    try:
        attack()
    except OSError:
        pass
    else:
        print(attack.__name__)
"""


@dataclass(frozen=True)
class Finding:
    """The level that works, with its first worker, and why no higher one does."""

    level: Level
    worker: Worker
    reasons: tuple[str, ...]


def find(limits: Limits, *, allow_weak: bool, unsafe: bool) -> Finding:
    """Try the levels from the best on.

    Args:
        limits: Limits of each test.
        allow_weak: Take level C as well.
        unsafe: Take level D as well.

    Raises:
        SandboxError: none that is allowed works; says why, and what to do.
    """
    allowed = {"A", "B", *(("C",) if allow_weak or unsafe else ()), *(("D",) if unsafe else ())}
    reasons: list[str] = []
    for level in candidates():
        if level.name not in allowed:
            break
        try:
            worker = Worker(level, limits)
        except SandboxError as error:
            reasons.append(f"{level.name}: {error}")
            continue
        if not (leaks := _leaks(worker)):
            return Finding(level, worker, tuple(reasons))
        worker.close()
        reasons.append(f"{level.name}: {level.how} lets programs {', '.join(sorted(leaks))}")
    raise SandboxError(_refusal(allowed, reasons))


def _leaks(worker: Worker) -> set[str]:
    """Attack from inside, and name what succeeds and should not."""
    if worker.level.name == "D":
        return set()
    with _targets() as given:
        ending = worker.run(_ATTACKS, given, function=None)
    if ending.end != "exit":
        return {f"end the probe ({ending.end}: {ending.message})"}
    return set(ending.output.decode().split()) - _LETS_THROUGH[worker.level.name]


@contextmanager
def _targets() -> Iterator[str]:
    """Set up what the attacks aim at: a folder with a secret, two sockets, and this process."""
    with (
        tempfile.TemporaryDirectory() as folder,
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.socket(socket.AF_UNIX) as abstract,
    ):
        Path(folder).chmod(0o755)
        Path(folder, "secret").write_text("secret")
        if os.uname().sysname == "Linux":
            abstract.bind(f"\0{folder}")
            abstract.listen()
        yield f"{folder}\n{server.getsockname()[1]}\n{os.getpid()}\n"


def _refusal(allowed: set[str], reasons: list[str]) -> str:
    tried = "; ".join(reasons) or "none is known for this system"
    way = "allow_weak" if "C" not in allowed else "unsafe"
    if "D" in allowed:
        return f"no level of isolation works here ({tried})"
    return (
        f"programs cannot be isolated here ({tried}). Expected a Linux kernel with Landlock and seccomp (5.13 or "
        f"newer, x86-64 or aarch64), or `bwrap`. To go on with less, set {way}: true, which means "
        f"{EXPLANATIONS['C' if way == 'allow_weak' else 'D']}"
    )
