"""Inside a SLURM allocation, but not started by `srun`: SLURM's variables speak of tasks that are not there."""

import os
from collections.abc import Mapping

_INTERACTIVE_STEP = "4294967290"  # the shell of an salloc


def tasks_without_srun(environment: Mapping[str, str] = os.environ) -> int:
    """Return how many tasks SLURM has room for, where it has not started this process as one of them; else 0.

    In a batch script and in an `salloc`, SLURM sets the variables from which Lightning takes ranks; but only `srun`
    starts processes, as a step of the job.
    """
    tasks = int(environment.get("SLURM_NTASKS", "0") or 0)
    started_by_srun = environment.get("SLURM_STEP_ID", _INTERACTIVE_STEP) != _INTERACTIVE_STEP
    return 0 if started_by_srun or "TORCHELASTIC_RUN_ID" in environment else tasks
