"""The run directory: overwrite protection, environment.json, progress.json and done.json."""

import hashlib
import os
import platform
import shlex
import shutil
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

import psutil
import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from lightning_marlhf.callbacks.pace import Paced, finite_metrics, metric
from lightning_marlhf.files import read_json_or_empty, write_json
from lightning_marlhf.records import RunSummary
from lightning_marlhf.run_folder import (
    CHECKPOINTS,
    COMPLETIONS,
    CONFIG_FILE,
    DONE_FILE,
    ENVIRONMENT_FILE,
    EXPORT,
    PROGRESS_FILE,
    VERDICTS,
)

Status = Literal["running", "done", "failed", "interrupted"]
# What a run writes; `overwrite` removes these, and all else in the folder stays
OF_A_RUN = (
    *(CHECKPOINTS, EXPORT, COMPLETIONS, VERDICTS),
    *(DONE_FILE, PROGRESS_FILE, ENVIRONMENT_FILE, CONFIG_FILE),
    *("metrics*.csv", "events.out.tfevents.*", "report.*"),
)
PACKAGES = (  # whose versions are noted
    *("lightning_marlhf", "torch", "lightning", "transformers", "datasets", "tokenizers"),
    *("torchdata", "jsonargparse", "numpy", "accelerate", "peft"),
)
_PACKAGE = Path(__file__).parents[1]


class RunExistsError(ValueError):
    """The directory of a new run already holds one."""


class NoUpdateError(ValueError):
    """A fit made no update."""


class RunDirectory(Paced, Callback):
    """Keeps `environment.json`, `progress.json` and `done.json`, and guards a run against being overwritten.

    Args:
        overwrite: remove the run that is in the directory.
        resuming: the fit resumes from a checkpoint (Lightning tells callbacks so only after `setup`).
        test_follows: a test comes after the fit, so the run is done only after it.
    """

    def __init__(self, *, overwrite: bool = False, resuming: bool = False, test_follows: bool = False) -> None:
        self.overwrite = overwrite
        self.resuming = resuming
        self.test_follows = test_follows
        self._fitted = False  # in this session
        self._session_started = time.monotonic()
        self._seconds_before = 0.0  # of earlier sessions, where the run was resumed
        self._metrics: dict[str, float] = {}
        self._written_at = 0.0

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Claim the run directory.

        Raises:
            RunExistsError: a new fit, and the directory holds a run.
        """
        if trainer.is_global_zero and not trainer.fast_dev_run:
            if stage == "fit":
                self._take(trainer, _folder(trainer))
            if not self._fitted:
                path = _folder(trainer) / ENVIRONMENT_FILE
                before = read_json_or_empty(path)
                earlier = before.pop("earlier", []) + ([before] if before else [])
                write_json(path, {**describe_environment(), "earlier": earlier})
        self._fitted = self._fitted or stage == "fit"
        trainer.strategy.barrier("run directory taken")

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin to count."""
        if trainer.is_global_zero and not trainer.fast_dev_run:
            (_folder(trainer) / DONE_FILE).unlink(missing_ok=True)
        super().on_train_start(trainer, pl_module)
        self._report(trainer, pl_module, "running", now=True)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Note how far the run is, at most once a second."""
        self._report(trainer, pl_module, "running")

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the metrics; a test would clear them."""
        self._metrics = finite_metrics(trainer)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Raise if no update was made.

        Raises:
            NoUpdateError: no update was made, in this session or before.
        """
        if trainer.global_step == 0:
            raise NoUpdateError(
                "the run made no update, so there is nothing to export: see trainer.max_steps, max_epochs, max_time "
                "and limit_train_batches"
            )

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Finish when all others have ended the fit and the export is there, unless a test follows."""
        if stage == "fit" and not self.test_follows:
            self._finish(trainer, pl_module)

    def on_test_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Update progress.json."""
        self._report(trainer, pl_module, "running")

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Finish."""
        self._metrics |= finite_metrics(trainer)
        self._finish(trainer, pl_module)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Note how the run ended, unless it was refused the directory."""
        if isinstance(exception, RunExistsError):
            return
        stopped = isinstance(exception, KeyboardInterrupt | SystemExit)
        stopped = stopped or type(exception).__name__ == "SIGTERMException"
        if _folder(trainer).is_dir():  # nobody has removed it
            self._report(trainer, pl_module, "interrupted" if stopped else "failed", now=True)

    def _take(self, trainer: Trainer, folder: Path) -> None:
        if self.resuming:
            self._seconds_before = float(read_json_or_empty(folder / PROGRESS_FILE).get("seconds", 0.0))
            return
        found = (*folder.glob(DONE_FILE), *folder.glob(f"{CHECKPOINTS}/*.ckpt"))
        held = [str(path.relative_to(folder)) for path in found]
        if held and not self.overwrite:
            raise RunExistsError(
                f"{folder} already holds a run ({', '.join(held)}): resume it by --ckpt_path last, "
                "replace it by --overwrite, or choose another trainer.default_root_dir"
            )
        if self.overwrite:
            for logger in trainer.loggers:
                if hasattr(logger, "restart"):
                    logger.restart()
            remove_run(folder)

    def _finish(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.is_global_zero or trainer.fast_dev_run:
            return
        folder = _folder(trainer)
        nothing = {"command": "", "step": 0, "seconds": 0.0}
        before = RunSummary.from_dict({**nothing, **read_json_or_empty(folder / DONE_FILE)})
        # the summary stays that of the fit
        standalone_test = not self._fitted and before.command == "fit"
        summary = RunSummary(
            command="fit" if self._fitted or standalone_test else _command(trainer),
            step=before.step if standalone_test else trainer.global_step,
            seconds=before.seconds if standalone_test else round(self._seconds(), 2),
            metrics={**before.metrics, **self._metrics},
            export=EXPORT if (folder / EXPORT).is_dir() else None,
        )
        write_json(folder / DONE_FILE, summary.to_dict())
        self._report(trainer, pl_module, "done", now=True)

    def _report(self, trainer: Trainer, pl_module: LightningModule, status: Status, *, now: bool = False) -> None:
        due = now or time.monotonic() - self._written_at >= 1
        if not due or not trainer.is_global_zero or trainer.fast_dev_run:
            return
        self._written_at = time.monotonic()
        name = getattr(pl_module, "monitor", None)
        eta = self.pace.eta_s(trainer.global_step) if self.pace and status == "running" else None
        write_json(
            _folder(trainer) / PROGRESS_FILE,
            {
                "command": _command(trainer),
                "step": trainer.global_step,
                "max_steps": self.pace.total if self.pace else None,
                "seconds": round(self._seconds(), 2),
                "eta_s": None if eta is None else round(eta, 1),
                "metric": name,
                "value": metric(trainer, name),
                "status": status,
                "updated": time.time(),
            },
        )

    def _seconds(self) -> float:
        return self._seconds_before + time.monotonic() - self._session_started


def remove_run(folder: Path) -> None:
    """Remove what a run left in its directory; other files stay."""
    for pattern in OF_A_RUN:
        for path in folder.glob(pattern):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()


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


def _command(trainer: Trainer) -> str:
    return str(trainer.state.fn.value) if trainer.state.fn else ""


def _folder(trainer: Trainer) -> Path:
    return Path(trainer.default_root_dir)
