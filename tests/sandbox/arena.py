"""Where attacks are run: targets with secrets, and a look at the machine before and after.

Only the standard library, so that any interpreter can run it as any user.
"""

import ctypes
import glob
import json
import os
import secrets
import select
import signal
import socket
import stat
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from lightning_marlhf.sandbox import probe
from lightning_marlhf.sandbox.levels import Level
from lightning_marlhf.sandbox.pool import Sandbox
from lightning_marlhf.sandbox.report import Ending
from lightning_marlhf.sandbox.verdicts import Limits, ProgramVerdict, Report, SandboxError, Tests
from lightning_marlhf.sandbox.worker import Worker
from tests.sandbox.attacks.attack import Attack

PATIENT = Limits(cpu_s=4, wall_factor=5, memory_mb=256)
IMPATIENT = Limits(cpu_s=0.2, wall_factor=3, memory_mb=256)  # for programs that will not end
GOOD = "print(sum(map(int, input().split())))"
GOOD_TESTS = Tests(["1 2 3"], ["6"])
_TRIES = 5
_SUBREAPER = 36
_SHARED_FOLDERS = ("/tmp", "/var/tmp", "/dev/shm", "/", ".")


class Recorder(Worker):
    """A worker that keeps what programs said."""

    def __init__(self, level: Level, limits: Limits) -> None:
        self.endings: list[Ending] = []
        super().__init__(level, limits)

    def run(self, program: str, given: Any, *, function: str | None) -> Ending:
        """Run it, and keep its ending."""
        ending = super().run(program, given, function=function)
        self.endings.append(ending)
        return ending


class Cage(AbstractContextManager["Cage"]):
    """Two sandboxes of one worker at one level, which need not be the best: one that waits long, one that does not.

    Raises:
        SandboxError: the level does not work here, or the probe gets through.
    """

    def __init__(self, level: Level) -> None:
        self.level = level
        self.workers: dict[Limits, Recorder] = {}
        self.sandboxes: dict[Limits, Sandbox] = {}
        for limits in PATIENT, IMPATIENT:
            worker = self.workers[limits] = Recorder(level, limits)
            found = probe.Finding(level, worker, ())
            with mock.patch.object(probe, "find", return_value=found):
                self.sandboxes[limits] = Sandbox(workers=1, limits=limits)
        if leaks := probe._leaks(self.workers[PATIENT]):
            self.__exit__()
            raise SandboxError(f"{level.how} lets programs {leaks}")

    def run(self, program: str, tests: Tests, limits: Limits = PATIENT) -> tuple[Report, Ending]:
        """Run a program on one test; give the report, and what it is made of."""
        self.workers[limits].endings.clear()
        report = self.sandboxes[limits].submit(program, tests).result()
        return report, self.workers[limits].endings[0]

    def __exit__(self, *_: object) -> None:
        """End the workers."""
        for sandbox in self.sandboxes.values():
            sandbox.close()


@dataclass(frozen=True)
class Arena:
    """Targets, and a machine that is watched.

    Attributes:
        targets: what attacks are told.
        secrets: what no program may print.
    """

    targets: dict[str, Any]
    secrets: dict[str, str]
    servers: tuple[socket.socket, ...]

    def assault(self, cage: Cage, attack: Attack, *, and_next: bool = True) -> list[str]:
        """Let a program attack, and say all that is wrong afterwards; also with the next program, a good one."""
        limits = IMPATIENT if ProgramVerdict.TIME_LIMIT in attack.right else PATIENT
        before = self.look()
        report, ending = cage.run(attack.program, self._tests(attack), limits)
        after = self.look()
        changed = [key for key in before if before[key] != after[key]]
        return [
            *_wrong_verdict(report, ending, attack),
            *(f"it changed {key} from {before[key]} to {after[key]}" for key in changed),
            *self._leaked(ending),
            *(_next_program(cage, limits) if and_next else []),
        ]

    def look(self) -> dict[str, Any]:
        """Describe all of the machine that a program could have changed."""
        folder = Path(self.targets["folder"])
        return {
            "processes": descendants(),
            "files": {str(path): _state(path) for path in [folder, *folder.rglob("*")]},
            "new files": [f for f in _SHARED_FOLDERS if os.path.lexists(f"{f}/{self.targets['mark']}")],
            "System V objects": self._system_v(),
            "POSIX queue": _opens_queue(f"/{self.targets['mark']}"),
            "connections": [bool(_waiting(server)) for server in self.servers],
            "signals": signal.sigpending(),
            "processors": os.sched_getaffinity(0),
        }

    def _tests(self, attack: Attack) -> Tests:
        given = json.dumps(self.targets) + "\n" if attack.function is None else [self.targets]
        return Tests([given], [self.secrets["the expected output"]], fn_name=attack.function)

    def _leaked(self, ending: Ending) -> list[str]:
        said = ending.output.decode(errors="replace") + ending.message
        return [f"it knows {name}" for name, secret in self.secrets.items() if secret in said]

    def _system_v(self) -> list[str]:
        key = str(self.targets["key"])
        tables = [Path("/proc/sysvipc", kind).read_text().splitlines() for kind in ("shm", "sem", "msg")]
        return [line for table in tables for line in table if line.split()[0] == key]


@contextmanager
def arena() -> Iterator[Arena]:
    """Set up targets; orphaned processes come to this one, where they are seen."""
    mark = f"marlhf-mark-{secrets.token_hex(8)}"
    hidden = {
        name: f"marlhf-secret-{secrets.token_hex(16)}"
        for name in ("the expected output", "the environment", "a secret file", "a public file", "the memory")
    }
    with (
        tempfile.TemporaryDirectory() as name,
        socket.create_server(("127.0.0.1", 0)) as tcp,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp,
        socket.socket(socket.AF_UNIX) as named,
        socket.socket(socket.AF_UNIX) as abstract,
        mock.patch.dict(os.environ, {"MARLHF_API_KEY": hidden["the environment"]}),
        _adopting_orphans(),
    ):
        folder = Path(name)
        _fill(folder, hidden)
        udp.bind(("127.0.0.1", 0))
        named.bind(f"{folder}/socket")
        abstract.bind(f"\0{mark}")
        for server in (named, abstract):
            server.listen()
        targets = {
            "folder": name,
            "mark": mark,
            "trainer": os.getpid(),
            "tcp": tcp.getsockname()[1],
            "udp": udp.getsockname()[1],
            "key": secrets.randbits(30),
        }
        yield Arena(targets, hidden, (tcp, udp, named, abstract))


def descendants(root: int | str = "self") -> set[int]:
    """List the processes that come from this one, dead ones that nobody waited for included."""
    children: set[int] = set()
    for file in glob.glob(f"/proc/{root}/task/*/children"):
        with suppress(OSError):  # it has just ended
            children.update(map(int, Path(file).read_text().split()))
    return children.union(*map(descendants, children))


def _fill(folder: Path, hidden: dict[str, str]) -> None:
    folder.chmod(0o777)
    for file, content, mode in (
        ("secret", hidden["a secret file"], 0o600),
        ("public", hidden["a public file"], 0o666),
        ("module.py", f"print({hidden['a public file']!r})", 0o666),
    ):
        (folder / file).write_text(content)
        (folder / file).chmod(mode)
    (folder / "empty").mkdir(mode=0o777)


def _wrong_verdict(report: Report, ending: Ending, attack: Attack) -> list[str]:
    (verdict,) = report.results
    if verdict in attack.right and ending.end != "lost":
        return []
    return [f"it is {verdict}, not {' or '.join(attack.right)}: {ending.end}, {ending.message}, {ending.output[:200]}"]


def _next_program(cage: Cage, limits: Limits) -> list[str]:
    for _ in range(_TRIES):
        report, _ = cage.run(GOOD, GOOD_TESTS, limits)
        if report.verdict is not ProgramVerdict.TIME_LIMIT:  # on a busy machine, not the attack's doing
            break
    return [] if report.passed else [f"the next program fails: {report}"]


def _state(path: Path) -> tuple[Any, ...]:
    found = path.lstat()
    content = path.read_bytes() if stat.S_ISREG(found.st_mode) else b""
    return (found.st_mode, found.st_uid, found.st_mtime_ns, found.st_ctime_ns, found.st_nlink, content)


def _opens_queue(name: str) -> bool:
    return ctypes.CDLL(None).mq_open(name.encode(), os.O_RDONLY) != -1


def _waiting(server: socket.socket) -> list[int]:
    return select.select([server], [], [], 0)[0]


@contextmanager
def _adopting_orphans() -> Iterator[None]:
    libc = ctypes.CDLL(None)
    libc.prctl(_SUBREAPER, 1, 0, 0, 0)
    try:
        yield
    finally:
        libc.prctl(_SUBREAPER, 0, 0, 0, 0)
