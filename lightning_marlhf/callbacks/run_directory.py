"""The run directory: overwrite protection, config.yaml, environment.json, progress.json and done.json."""

import shutil
import time
from pathlib import Path
from typing import Any, Literal

import yaml
from lightning.pytorch import Callback, LightningModule, Trainer

from lightning_marlhf import __version__
from lightning_marlhf.callbacks.environment import describe_environment
from lightning_marlhf.callbacks.eta import Paced, finite_metrics, metric
from lightning_marlhf.config.yaml_files import leaves
from lightning_marlhf.files import read_json_or_empty, write_json, write_text
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


class RunExistsError(ValueError):
    """The directory of a new run already holds one."""


class NoUpdateError(ValueError):
    """A fit made no update."""


class RunDirectory(Paced, Callback):
    """Claims the run directory, and keeps its logs, `environment.json`, `progress.json` and `done.json`.

    A new fit refuses a directory with a run in it. A resumed one truncates the logs to the step of its checkpoint, so
    that no step is logged twice.

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
        self._seconds_before = 0.0  # of earlier sessions, if the run was resumed
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
        """Truncate the logs to the resumed step, and report the start."""
        if trainer.is_global_zero and not trainer.fast_dev_run:
            (_folder(trainer) / DONE_FILE).unlink(missing_ok=True)
        for logger in trainer.loggers:
            if hasattr(logger, "continue_from"):
                logger.continue_from(trainer.global_step)
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
        if _folder(trainer).is_dir():  # else it was removed
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


class SaveConfig(Callback):
    """Saves the resolved config in the run directory, and passes it to the loggers.

    A resumed run saves its config when training begins: if it fails before, the directory still holds the config of
    the run in it. A test or validation in the directory of a fit leaves the fit's config alone.

    Args:
        command: "fit", "validate", ...
        config: the resolved config as YAML.
    """

    def __init__(self, command: str, config: str) -> None:
        self._command = command
        self._text = config
        self._saved = False
        self._resumed_from: str | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Save, once the run directory is claimed."""
        if trainer.ckpt_path and self._command == "fit" and stage == "fit":
            self._resumed_from = str(trainer.ckpt_path)
        else:
            self._save(trainer)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save, once a resumed run trains."""
        self._save(trainer)

    def _save(self, trainer: Trainer) -> None:
        """Write `config.yaml`, once.

        A resumed run replaces the settings and appends a comment with the time, the checkpoint and every setting that
        changed, so the file stays one YAML document that `--config` reads.
        """
        if self._saved or not trainer.is_global_zero or trainer.fast_dev_run:
            return
        self._saved = True
        path = _folder(trainer) / CONFIG_FILE
        header, *lines = (path.read_text(encoding="utf-8") if path.is_file() else "").splitlines() or [""]
        if self._command != "fit" and header.endswith(" fit"):
            return
        notes = []
        if self._resumed_from and lines:
            notes = [line for line in lines if line.startswith("# ")]
            notes.append(f"# {time.strftime('%Y-%m-%d %H:%M:%S')} resumed from {self._resumed_from}")
            notes += [f"#   {line}" for line in changes(path.parent, self._text)]
        header = f"# lightning_marlhf {__version__} {self._command}"
        write_text(path, "\n".join([header, self._text.rstrip("\n"), *notes]) + "\n")
        for logger in trainer.loggers:
            logger.log_hyperparams(yaml.safe_load(self._text))


def changes(folder: Path, config: str) -> list[str]:
    """List the settings that differ from the last start of the run, one line each: `trainer.max_steps: 40 -> 80`.

    Args:
        folder: the run directory; without a config in it nothing has changed.
        config: the resolved config as YAML.
    """
    path = folder / CONFIG_FILE
    if not path.is_file():
        return []
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, ValueError, RecursionError):  # edited by hand: a resume must not fail for that
        tree = None
    before = dict(leaves(tree)) if isinstance(tree, dict) else {}
    after = dict(leaves(yaml.safe_load(config)))
    return [
        f"{key}: {before.get(key, '(none)')} -> {after.get(key, '(none)')}"
        for key in {**before, **after}
        if before.get(key, "(none)") != after.get(key, "(none)")
    ]


def remove_run(folder: Path) -> None:
    """Remove what a run left in its directory; other files stay."""
    for pattern in OF_A_RUN:
        for path in folder.glob(pattern):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()


def _command(trainer: Trainer) -> str:
    return str(trainer.state.fn.value) if trainer.state.fn else ""


def _folder(trainer: Trainer) -> Path:
    return Path(trainer.default_root_dir)
