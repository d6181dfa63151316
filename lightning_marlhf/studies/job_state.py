"""Jobs: one stage with one seed, its command, and the state of its run directory."""

import enum
import functools
import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning_marlhf.config.yaml_files import read_yaml
from lightning_marlhf.files import read_json_or_empty, write_json
from lightning_marlhf.records import RunSummary
from lightning_marlhf.run_folder import DONE_FILE, LAST_CHECKPOINT, LOG_FILE, PROGRESS_FILE, STAGE_FILE
from lightning_marlhf.studies.plan import Plan
from lightning_marlhf.studies.stages import EVALUATIONS, Folders, Stage


class State(enum.Enum):
    """What the run directory of a job holds."""

    NEW = "new"
    FINISHED = "finished"
    STALE = "finished with other settings or inputs"
    INTERRUPTED = "interrupted"
    INTERRUPTED_STALE = "interrupted, with other settings or inputs"


class Outcome(enum.Enum):
    """The outcome of a job."""

    DONE = "done"
    KEPT = "finished before"  # possibly with other settings
    FAILED = "failed"
    BLOCKED = "not run"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True)
class Job:
    """One stage with one seed."""

    stage: str
    seed: int
    folder: Path
    command: tuple[str, ...]  # starts it from scratch
    needs: tuple["Job", ...] = ()
    settings: str = ""  # hash of the requested settings
    evaluates: bool = False  # its command leaves results, but no mark that it is finished

    @property
    def name(self) -> str:
        """The job in words."""
        return f"{self.stage} (seed {self.seed})"

    @property
    def log(self) -> Path:
        """Where its output goes."""
        return self.folder / LOG_FILE


@dataclass(frozen=True)
class Running:
    """A job and its process."""

    job: Job
    process: "subprocess.Popen[bytes]"
    started: float  # monotonic seconds
    threads: int


def make_jobs(plan: Plan, *, program: Sequence[str] = (sys.executable, "-m", "lightning_marlhf")) -> list[Job]:
    """List the plan's jobs, every job after those that it needs."""
    jobs: dict[tuple[str, int], Job] = {}
    read = functools.cache(read_yaml)
    for stage in plan.stages:
        for seed in plan.seeds:
            folder_of = functools.partial(_folder, plan.output, seed=seed)
            needs = tuple(jobs[name, seed] for name in stage.needs)
            options = _options(stage, folder_of, seed=seed)
            jobs[stage.name, seed] = Job(
                stage=stage.name,
                seed=seed,
                folder=folder_of(stage.name),
                command=(*program, stage.command, *stage.config_words(), *options),
                needs=needs,
                settings=_hash([stage.command, *map(read, stage.configs), options]),
                evaluates=stage.evaluates,
            )
    return list(jobs.values())


def inspect_job(job: Job) -> State:
    """Look at what a job's run directory holds, given that all its inputs are finished."""
    same = _same_as_before(job)
    if (job.folder / DONE_FILE).is_file():
        return State.FINISHED if same else State.STALE
    if (job.folder / LAST_CHECKPOINT).exists():
        return State.INTERRUPTED if same else State.INTERRUPTED_STALE
    return State.NEW


def start_command(job: Job, *, state: State) -> tuple[str, ...]:
    """Return the command that resumes an interrupted run, or else starts it from scratch; evaluations resume anyway."""
    if state is State.INTERRUPTED:
        return (*job.command, "--ckpt_path", "last")
    restarts = state is State.STALE if job.evaluates else job.folder.exists()
    return (*job.command, "--overwrite") if restarts else job.command


def note_start(job: Job) -> None:
    """Write stage.json: settings, inputs and start time."""
    write_json(job.folder / STAGE_FILE, {**_request(job), "started": time.time()})


def note_end(job: Job, *, seconds: float) -> None:
    """Mark an evaluation as finished, as a run does itself."""
    command = next(word for word in job.command if word in EVALUATIONS)
    summary = RunSummary(command=command, step=0, seconds=round(seconds, 2))
    write_json(job.folder / DONE_FILE, summary.to_dict())


def read_progress(job: Job) -> dict[str, Any]:
    """Read progress.json; empty if missing."""
    return read_json_or_empty(job.folder / PROGRESS_FILE)


def read_summary(job: Job) -> dict[str, Any]:
    """Read done.json; empty if missing."""
    return read_json_or_empty(job.folder / DONE_FILE)


def _folder(output: Path, stage: str, *, seed: int) -> Path:
    return output / stage / f"seed-{seed}"


def _options(stage: Stage, folder_of: Folders, *, seed: int) -> list[str]:
    options = stage.options(folder_of)
    if stage.evaluates:
        return options
    return [
        *options,
        f"--seed_everything={seed + stage.seed_offset}",
        f"--trainer.default_root_dir={folder_of(stage.name)}",
    ]


def _request(job: Job) -> dict[str, Any]:
    return {"settings": job.settings, "inputs": {need.stage: _identity(need) for need in job.needs}}


def _identity(job: Job) -> str:
    """Return an id of this finished run."""
    started = read_json_or_empty(job.folder / STAGE_FILE).get("started")
    return _hash(started if started else (job.folder / DONE_FILE).read_text(encoding="utf-8"))


def _same_as_before(job: Job) -> bool:
    """Compare with stage.json; a run started by hand counts as equal."""
    before = read_json_or_empty(job.folder / STAGE_FILE)
    return not before or {key: before.get(key) for key in ("settings", "inputs")} == _request(job)


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:16]
