"""What a resumed run checks: whether it is finished already, and which settings have changed since it was started."""

from pathlib import Path

from lightning_marlhf.callbacks.run_directory import changes
from lightning_marlhf.files import read_json
from lightning_marlhf.records import RunSummary
from lightning_marlhf.run_folder import CHECKPOINTS, DONE_FILE


def changed_settings(run_dir: Path, config_text: str) -> list[str]:
    """List the settings that have changed since the run was started, one line each.

    Raises:
        ValueError: The number of workers has changed, which the data position depends on.
    """
    changed = changes(run_dir, config_text)
    for line in changed:
        if line.startswith("data.init_args.num_workers:"):
            raise ValueError(f"{line}: a run must resume with the same num_workers, which the data position depends on")
    return changed


def has_saved_nothing(run_dir: Path) -> bool:
    """Return whether a run has neither finished nor saved a checkpoint."""
    return not (run_dir / DONE_FILE).exists() and not any((run_dir / CHECKPOINTS).glob("*.ckpt"))


def updates_of_finished(run_dir: Path, *, max_steps: int, changed: bool) -> int | None:
    """Return the updates of a run that is finished; None for one that is not, or that max_steps extends.

    Lets a requeued job of a finished run exit at once.

    Args:
        run_dir: The run directory.
        max_steps: Updates of the run as it is started now; -1 for no limit.
        changed: It is started with other settings than before. With the same settings a run does not continue,
            whatever ended it: the epochs, the time, early stopping, a guard.
    """
    try:
        done = RunSummary.from_dict(read_json(run_dir / DONE_FILE))
    except (OSError, ValueError):
        return None
    enough = not changed or 0 <= max_steps <= done.step
    lost = done.export is not None and not (run_dir / done.export).is_dir()
    return done.step if done.command == "fit" and enough and not lost else None
