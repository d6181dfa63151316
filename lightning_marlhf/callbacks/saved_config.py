"""`config.yaml` in the run directory: the resolved config, and below it, as comments, what each resume changed."""

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from lightning.pytorch import Callback, LightningModule, Trainer

from lightning_marlhf import __version__
from lightning_marlhf.files import write_text
from lightning_marlhf.run_folder import CONFIG_FILE

_NOTE = "# "


class SaveConfig(Callback):
    """Saves the resolved config when a run begins, and shows it to the loggers.

    A resumed run with other settings saves them when training begins: if it fails before, the directory still holds
    the config of the run in it. A test or validation in the directory of a fit leaves the fit's config alone.

    Args:
        command: "fit", "validate", ...
        config: The resolved config as YAML.
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
        folder = Path(trainer.default_root_dir)
        if self._saved or not trainer.is_global_zero or trainer.fast_dev_run:
            return
        self._saved = True
        if self._command != "fit" and _is_of_fit(folder / CONFIG_FILE):
            return
        save(
            folder,
            self._text,
            header=f"lightning_marlhf {__version__} {self._command}",
            resumed_from=self._resumed_from,
        )
        for logger in trainer.loggers:
            logger.log_hyperparams(yaml.safe_load(self._text))


def save(folder: Path, config: str, *, header: str, resumed_from: str | None) -> None:
    """Write the resolved config of a run.

    A resumed run replaces the settings and appends a comment with the time, the checkpoint and every setting
    that changed, so the file stays one YAML document that `--config` reads.

    Args:
        folder: the run directory.
        config: the resolved config as YAML.
        header: a comment for the first line.
        resumed_from: the checkpoint that the run continues from; None for a fresh run.
    """
    path = folder / CONFIG_FILE
    notes: list[str] = []
    if resumed_from and path.is_file():
        old = path.read_text(encoding="utf-8")
        notes = [line for line in old.splitlines()[1:] if line.startswith(_NOTE)]
        notes.append(f"{_NOTE}{time.strftime('%Y-%m-%d %H:%M:%S')} resumed from {resumed_from}")
        notes += [f"{_NOTE}  {line}" for line in differences(_load(old), _load(config))]
    write_text(path, "\n".join([_NOTE + header, config.rstrip("\n"), *notes]) + "\n")


def changes(folder: Path, config: str) -> list[str]:
    """List the settings that a resolved config has changed since the run in ``folder`` was last started."""
    path = folder / CONFIG_FILE
    return differences(_load(path.read_text(encoding="utf-8")), _load(config)) if path.is_file() else []


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """List the settings that differ, one line each: `trainer.max_steps: 40 -> 80`."""
    before, after = dict(_leaves(old)), dict(_leaves(new))
    keys = [*before, *(key for key in after if key not in before)]
    return [
        f"{key}: {before.get(key, '(none)')} -> {after.get(key, '(none)')}"
        for key in keys
        if before.get(key, "(none)") != after.get(key, "(none)")
    ]


def _is_of_fit(path: Path) -> bool:
    return path.is_file() and path.read_text(encoding="utf-8").partition("\n")[0].endswith(" fit")


def _leaves(tree: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(tree, Mapping) and tree:
        for key, value in tree.items():
            yield from _leaves(value, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, tree


def _load(text: str) -> Mapping[str, Any]:
    try:
        tree = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError):
        # somebody edited it: nothing can be compared, and a resume must not fail for that
        return {}
    return tree if isinstance(tree, Mapping) else {}
