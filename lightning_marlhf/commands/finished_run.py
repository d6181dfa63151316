"""Is a run finished? What a job that is requeued asks, since it may be started once more than needed."""

from pathlib import Path

from lightning_marlhf.files import read_json
from lightning_marlhf.records import RunSummary
from lightning_marlhf.run_folder import DONE_FILE


def updates_of_finished(run_dir: Path, *, max_steps: int, changed: bool) -> int | None:
    """Return the updates of a run that is finished; None for one that is not, or that is to be extended.

    Args:
        run_dir: the run directory.
        max_steps: updates of the run as it is started now; -1 for no limit.
        changed: it is started with other settings than before. With the same a run does not go on, whatever ended it:
            the epochs, the time, early stopping, a guard.
    """
    try:
        done = RunSummary.from_dict(read_json(run_dir / DONE_FILE))
    except (OSError, ValueError):
        return None
    enough = not changed or 0 <= max_steps <= done.step
    lost = done.export is not None and not (run_dir / done.export).is_dir()
    return done.step if done.command == "fit" and enough and not lost else None
