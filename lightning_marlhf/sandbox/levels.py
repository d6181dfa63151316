"""Levels of isolation: what each is made of, what it does not stop, and how its worker is started."""

import importlib.util
import json
import os
import shutil
import stat
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_NOBODY = 65534
_PACKAGE = "lightning_marlhf"
_ROOT = Path(__file__).parents[2]  # of our package, from where the worker imports its own code
_LIBRARIES = ("/usr/lib", "/usr/lib64", "/lib", "/lib64")
_FILES = ("/dev/null", "/dev/urandom", "/etc/ld.so.cache")
_LAUNCH = (
    "import json, sys; sys.path.append(json.loads(sys.argv[1])['root']); "
    "from lightning_marlhf.sandbox.inside.worker import main; main()"
)
_OPTIONS = ("-S", "-s", "-P", "-B", "-X", "utf8", "-W", "ignore")
_STOPS_ALL = "It does not stop attacks on the kernel itself, or measuring time"

EXPLANATIONS = {
    "A": f"namespaces, Landlock and seccomp. {_STOPS_ALL}.",
    "B": "Landlock and seccomp, without namespaces: full isolation, but programs can see which files exist. "
    f"{_STOPS_ALL}.",
    "C": "seccomp alone: programs can read every file of this user. They cannot write, start processes or use the "
    "network. Run as a throw-away user or in a container.",
    "D": "limits on time and memory alone: programs can do whatever this user can, such as change files, use the "
    "network and leave processes behind. Run nothing that you would not run yourself.",
}


@dataclass(frozen=True)
class Level:
    """One way to isolate.

    Attributes:
        name: "A" to "D".
        how: Tells apart the ways to reach one level.
        before: The command that goes before the interpreter's.
        settings: Settings of the worker.
    """

    name: str
    how: str
    before: tuple[str, ...]
    settings: Mapping[str, Any]

    def command(self, limits: Mapping[str, Any]) -> list[str]:
        """Start a worker: an interpreter without site packages."""
        settings = json.dumps({**self.settings, "limits": limits})
        return [*self.before, str(_interpreter()), *_OPTIONS, "-c", _LAUNCH, settings]


ENVIRONMENT = {
    "PYTHONHASHSEED": "0",  # the order of sets, and so the outputs of some programs, are the same in every worker
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
}


def candidates() -> Iterator[Level]:
    """Name what may work on this machine, best first; whether it does is seen by trying it."""
    linux = sys.platform.startswith("linux")
    root = hasattr(os, "geteuid") and os.geteuid() == 0
    if linux and (bubblewrap := shutil.which("bwrap")):
        if root and _others_can_read([_stdlib()]):
            how = "bubblewrap as root, then user nobody"
            yield Level("A", how, _bubblewrap(bubblewrap, as_root=True), _settings(_NOBODY))
        yield Level("A", "bubblewrap", _bubblewrap(bubblewrap, as_root=False), _settings(None))
    become = _NOBODY if root and _others_can_read([_stdlib(), *_stdlib().parents]) else None
    if linux:
        yield Level("B", "Landlock and seccomp", (), _settings(become))
        yield Level("C", "seccomp", (), _settings(become, landlock=False))
    yield Level("D", "resource limits", (), _settings(become, landlock=False, seccomp=False))


def _settings(become: int | None, *, landlock: bool = True, seccomp: bool = True) -> dict[str, Any]:
    """Return the settings of a worker; ``become`` is the user that it turns into."""
    numpy = _numpy()
    return {
        "root": str(_ROOT),
        "numpy": str(numpy.parent) if numpy else None,
        "readable": [*map(str, _readable()), *_FILES],
        "landlock": landlock,
        "seccomp": seccomp,
        "become": become,
    }


def _bubblewrap(program: str, *, as_root: bool) -> tuple[str, ...]:
    """Write the command before the worker's: namespaces in which nothing but libraries exists, all read-only."""
    # root needs no user namespace, in which it could not become nobody
    spaces = ("ipc", "pid", "net", "uts", "cgroup-try") if as_root else ("all",)
    arguments = [program, *(f"--unshare-{space}" for space in spaces), "--as-pid-1"]
    arguments += ["--cap-drop", "ALL"]
    if as_root:
        arguments += ["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
    visible = _visible()
    for folder in sorted({parent for path in visible for parent in path.parents} - {Path("/")}):
        arguments += ["--perms", "0755", "--dir", str(folder)]
    for path in visible:
        if path.is_symlink():
            arguments += ["--symlink", os.readlink(path), str(path)]
        elif path.exists():
            arguments += ["--ro-bind", str(path), str(path)]
    for device in ("/dev/null", "/dev/urandom"):
        arguments += ["--dev-bind", device, device]
    return (*arguments, "--remount-ro", "/", "--chdir", "/", "--")


def _visible() -> list[Path]:
    """List what the worker needs to start: interpreter, libraries, and our own code."""
    package = _ROOT / _PACKAGE
    files = [Path("/etc/ld.so.cache"), _interpreter(), package / "__init__.py", package / "sandbox"]
    return list(dict.fromkeys([*map(Path, _LIBRARIES), *_readable(), *files]))


def _readable() -> list[Path]:
    """List what programs may read: the standard library, shared libraries, and numpy if it is installed."""
    numpy = _numpy()
    prefixes = dict.fromkeys([sys.base_prefix, sys.base_exec_prefix])
    return [
        _stdlib(),
        *(Path(prefix) / "lib" for prefix in prefixes),
        *map(Path, _LIBRARIES),
        *([numpy, numpy.with_name("numpy.libs")] if numpy else []),
    ]


def _interpreter() -> Path:
    """Find the interpreter itself, not that of a virtual environment."""
    return Path(getattr(sys, "_base_executable", sys.executable)).resolve()


def _stdlib() -> Path:
    return Path(os.__file__).parent


def _numpy() -> Path | None:
    """Find numpy, which many programs of APPS import; it need not be there."""
    found = importlib.util.find_spec("numpy")
    return Path(found.origin).parent if found and found.origin else None


def _others_can_read(folders: list[Path]) -> bool:
    wanted = stat.S_IROTH | stat.S_IXOTH
    return all(folder.stat().st_mode & wanted == wanted for folder in folders)
