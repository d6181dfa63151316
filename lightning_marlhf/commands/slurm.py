"""Inside a SLURM allocation, but not started by `srun`: SLURM's variables speak of tasks that are not there."""

import os
from collections.abc import Mapping

_INTERACTIVE_STEP = "4294967290"  # the shell of an salloc


def tasks_without_srun(environment: Mapping[str, str] = os.environ) -> int | None:
    """Return how many tasks SLURM has room for, where it has not started this process as one of them; else None.

    In a batch script and in an `salloc`, SLURM sets the variables from which Lightning takes ranks; but only `srun`
    starts processes, as a step of the job.
    """
    tasks = environment.get("SLURM_NTASKS")
    started_by_srun = environment.get("SLURM_STEP_ID", _INTERACTIVE_STEP) != _INTERACTIVE_STEP
    if tasks is None or started_by_srun or "TORCHELASTIC_RUN_ID" in environment:
        return None
    return int(tasks) if tasks.isdecimal() else 1
