"""Shows the progress of a study: a live line per running stage on a terminal, periodic lines elsewhere."""

import time
from collections.abc import Sequence
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from lightning_marlhf.display.text import duration, plural, printable
from lightning_marlhf.studies.job_state import Job, Outcome, Running, State, read_progress, read_summary

PLAIN_EVERY_S = 15.0
_LAST_LINES = 15
_RESULTS = 4
_REQUEUE = 75  # exit status of a run that the machine stopped, after its checkpoint


class Monitor:
    """Prints the runner's events.

    Args:
        total: Number of jobs.
        console: Where to write.
    """

    def __init__(self, *, total: int, console: Console) -> None:
        self._total = total
        self._settled = 0
        self._console = console
        self._live = Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None
        self._next_line: dict[Job, float] = {}
        self.stale: list[Job] = []

    def __enter__(self) -> "Monitor":
        """Begin the live lines."""
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        """End the live lines."""
        if self._live:
            self._live.stop()

    def kept(self, job: Job, state: State) -> None:
        """Print that a job was finished before, and whether its settings differ."""
        if state is State.STALE:
            self.stale.append(job)
            why = f"was {state.value}; kept as it is (--overwrite redoes it)"
            self._settle(job, why, style="yellow")
        else:
            self._settle(job, "finished before")

    def started(self, running: Running, state: State) -> None:
        """Print that a job starts."""
        how = {State.INTERRUPTED: "resumes from its last checkpoint", State.STALE: "starts from scratch"}
        job, threads = running.job, plural(running.threads, "thread")
        self._say(f"{job.name}: {how.get(state, 'starts')}, {threads}, log {job.log}")
        self._next_line[running.job] = time.monotonic() + PLAIN_EVERY_S

    def ended(self, running: Running, outcome: Outcome) -> None:
        """Print how a job ended; for a failed one the end of its log."""
        job, status = running.job, running.process.returncode
        elapsed = duration(time.monotonic() - running.started)
        if outcome is Outcome.DONE:
            self._settle(job, f"done in {elapsed}{_results(job)}", style="green")
        elif outcome is Outcome.INTERRUPTED:
            self._say(f"{job.name}: interrupted after {elapsed}", style="yellow")
        elif status == _REQUEUE:
            text = f"preempted after {elapsed}, exit status {status}: requeue to resume"
            self._settle(job, text, style="yellow")
        else:
            self._settle(job, f"failed after {elapsed}, exit status {status}", style="red")
            for line in (*_tail(job), f"full log: {job.log}"):
                self._say(f"    {line}", style="red")

    def waits(self, job: Job, holder: str) -> None:
        """Print that another process runs the job."""
        self._say(f"{job.name}: waits for {holder}, which writes to {job.folder}", style="yellow")

    def blocked(self, job: Job, reason: str) -> None:
        """Print why a job cannot run."""
        self._settle(job, f"not run: {reason}", style="red")

    def tick(self, running: Sequence[Running]) -> None:
        """Refresh the live lines, or write the plain ones that are due."""
        if self._live:
            self._live.update(Group(*(Text(progress_line(r), style="cyan") for r in running)), refresh=True)
            return
        now = time.monotonic()
        for one in running:
            if now >= self._next_line[one.job]:
                self._next_line[one.job] = now + PLAIN_EVERY_S
                self._say(progress_line(one))

    def stopping(self, running: Sequence[Running]) -> None:
        """Print that checkpoints are awaited."""
        names = ", ".join(r.job.name for r in running)
        self._say(f"stopping {names}: waiting for the checkpoint (Ctrl-C again to give it up)", style="yellow")

    def _settle(self, job: Job, text: str, *, style: str = "") -> None:
        self._settled += 1
        self._say(f"[{self._settled}/{self._total}] {job.name}: {text}", style=style)

    def _say(self, text: str, *, style: str = "") -> None:
        self._console.print(Text(text, style=style), soft_wrap=True)


def progress_line(running: Running) -> str:
    """Put a running job into one line: stage, seed, step, ETA, the metric that matters."""
    name, progress = running.job.name, read_progress(running.job)
    seconds = time.monotonic() - running.started
    if not progress or progress.get("updated", 0) < time.time() - seconds - 1:
        return f"{name}: starting, {duration(seconds)}"
    step, limit, eta = progress.get("step", 0), progress.get("max_steps"), progress.get("eta_s")
    steps = f"{progress.get('command', '')}{f' {step}/{limit}' if limit else ''}"
    left = f", {duration(eta)} left" if isinstance(eta, int | float) else ""
    return f"{name}: {steps}{_metric(progress)}, {duration(seconds)}{left}"


def _metric(progress: dict[str, Any]) -> str:
    name, value = progress.get("metric"), progress.get("value")
    return f", {name} {value:.4g}" if name and isinstance(value, int | float) else ""


def _results(job: Job) -> str:
    """Name what the held-out evaluation found, or else the metric that was watched."""
    progress, metrics = read_progress(job), read_summary(job).get("metrics", {})
    found = {name: value for name, value in metrics.items() if name.startswith("eval/")}
    if not found and progress.get("metric") in metrics:
        found = {progress["metric"]: metrics[progress["metric"]]}
    return "".join(f", {name} {value:.4g}" for name, value in list(found.items())[:_RESULTS])


def _tail(job: Job) -> list[str]:
    try:
        lines = job.log.read_text(encoding="utf-8", errors="replace").split("\n")
    except OSError:
        return []
    return [printable(line.rpartition("\r")[2]) for line in lines if line.strip()][-_LAST_LINES:]
