"""`environment.json`: command, commit, versions and hardware of a run, for reproducibility."""

import hashlib
import os
import platform
import shlex
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil
import torch

PACKAGES = (  # whose versions are noted
    *("lightning_marlhf", "torch", "lightning", "transformers", "datasets", "tokenizers"),
    *("torchdata", "jsonargparse", "numpy", "accelerate", "peft"),
)
_PACKAGE = Path(__file__).parents[1]


def describe_environment() -> dict[str, Any]:
    """Return the environment of the run for reproducibility; starts no process."""
    return {
        "command": shlex.join(sys.orig_argv),
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "git_commit": git_commit(_PACKAGE.parent),
        "source_sha256": source_digest(_PACKAGE),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": {name: found for name in PACKAGES if (found := _version(name))},
        "hardware": _hardware(),
    }


def git_commit(repository: Path) -> str | None:
    """Read the commit that is checked out; None outside a repository or before the first commit."""
    git = repository / ".git"
    if git.is_file():  # a worktree: the file names the folder
        git = repository / git.read_text(encoding="utf-8").removeprefix("gitdir:").strip()
    head = _read(git / "HEAD")
    if not head.startswith("ref:"):
        return head or None
    name = head.removeprefix("ref:").strip()
    common = (git / (_read(git / "commondir") or ".")).resolve()
    packed = (line.split() for line in _read(common / "packed-refs").splitlines() if line.endswith(f" {name}"))
    return _read(common / name) or next((commit for commit, _ in packed), None)


def source_digest(package: Path) -> str:
    """Hash the Python files of a package: distinguishes uncommitted changes."""
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        digest.update(path.relative_to(package).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def _hardware() -> dict[str, Any]:
    gpus = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
    return {
        "cpu": _cpu_name(),
        "cpu_cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "gpus": [f"{gpu.name}, {gpu.total_memory / 1e9:.0f} GB" for gpu in gpus],
    }


def _cpu_name() -> str:
    lines = _read(Path("/proc/cpuinfo")).splitlines()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
