"""Runs jobs as processes, concurrently where inputs are ready; a failing job does not stop the others."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from graphlib import TopologicalSorter
from types import FrameType

from lightning_marlhf.run_folder import DONE_FILE
from lightning_marlhf.run_lock import VARIABLE, InUseError, holder, say_who, take
from lightning_marlhf.sandbox.pool import available_cpus
from lightning_marlhf.studies.job_state import (
    Job,
    Outcome,
    Running,
    State,
    inspect_job,
    note_end,
    note_start,
    start_command,
)
from lightning_marlhf.studies.progress import Monitor

_POLL_S = 0.2
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_LOST = (Outcome.FAILED, Outcome.BLOCKED)


class Runner:
    """Runs jobs.

    Args:
        jobs: Every job after those that it needs.
        workers: How many may run at the same time.
        overwrite: Redo jobs that were finished or interrupted with other settings or inputs.
        force: Jobs to redo whatever they were made with.
        monitor: Prints events.
    """

    def __init__(
        self,
        jobs: Sequence[Job],
        *,
        workers: int,
        overwrite: bool = False,
        force: Collection[Job] = (),
        monitor: Monitor,
    ) -> None:
        self._order = {job: number for number, job in enumerate(jobs)}
        self._running: dict[Future[int], Running] = {}
        self._workers = workers
        self._overwrite = overwrite
        self._force = frozenset(force)
        self._monitor = monitor
        self._held: set[Job] = set()  # run by other processes
        self._signals = 0
        self._cores = available_cpus()
        self.outcomes: dict[Job, Outcome] = {}

    def run(self) -> dict[Job, Outcome]:
        """Run until every job is done, has failed or cannot run; return the outcome of each."""
        graph = TopologicalSorter({job: [need for need in job.needs if need in self._order] for job in self._order})
        graph.prepare()
        ready: list[Job] = []
        with _on_signal(self._stop), ThreadPoolExecutor(self._workers) as pool:
            while graph.is_active() and (self._running or not self._signals):
                ready = sorted([*ready, *graph.get_ready()], key=self._order.__getitem__)
                settled: list[Job] = []
                if not self._signals:
                    settled = [job for job in ready if self._settle(job)]
                    started = [] if settled else self._start_ready(ready, pool)
                    ready = [job for job in ready if job not in (*settled, *started)]
                graph.done(*(settled or self._wait()))
        for job in self._order:
            self.outcomes.setdefault(job, Outcome.INTERRUPTED)
        return self.outcomes

    @property
    def running(self) -> list[Running]:
        """The jobs that run now."""
        return [*self._running.values()]

    @property
    def interrupted(self) -> bool:
        """Whether a stop was requested."""
        return self._signals > 0

    def _settle(self, job: Job) -> bool:
        """Settle a job that need not or cannot run; return whether it was settled."""
        if job in self.outcomes:  # it could not be started
            return True
        lost = [need for need in job.needs if self.outcomes.get(need) in _LOST]
        if lost:
            return self._block(job, f"{lost[0].name} is missing")
        if self._is_held(job):
            return False
        missing = [need for need in job.needs if not (need.folder / DONE_FILE).is_file()]
        if missing:  # with --only
            return self._block(job, f"it needs {missing[0].name}, which is not finished")
        state = inspect_job(job)
        if job in self._force:
            return False
        if state is State.FINISHED or (state is State.STALE and not self._overwrite):
            self.outcomes[job] = Outcome.KEPT
            self._monitor.kept(job, state)
            return True
        if state is State.INTERRUPTED_STALE and not self._overwrite:
            reason = f"it was {state.value}; --overwrite starts it from scratch ({job.folder})"
            return self._block(job, reason)
        return False

    def _block(self, job: Job, reason: str) -> bool:
        self.outcomes[job] = Outcome.BLOCKED
        self._monitor.blocked(job, reason)
        return True

    def _is_held(self, job: Job) -> bool:
        """Return whether a process runs the job already: one of a killed `reproduce`, or of a user."""
        who = holder(job.folder)
        if who is None:
            self._held.discard(job)
        elif job not in self._held:
            self._held.add(job)
            self._monitor.waits(job, who)
        return who is not None

    def _start_ready(self, ready: Sequence[Job], pool: ThreadPoolExecutor) -> list[Job]:
        """Start as many jobs as there is room for, and return them."""
        free = [job for job in ready if job not in self._held]
        busy = len(self._running) + len(self._held)
        side_by_side = min(self._workers, len(free) + busy)
        threads = max(1, self._cores // max(1, side_by_side))
        chosen = free[: max(0, self._workers - busy)]
        return [job for job in chosen if self._start_or_block(job, pool, threads=threads)]

    def _start_or_block(self, job: Job, pool: ThreadPoolExecutor, *, threads: int) -> bool:
        try:
            return self._start(job, pool, threads=threads)
        except OSError as error:  # the others run all the same
            self._block(job, f"{error.strerror}: {error.filename}")
            return False

    def _start(self, job: Job, pool: ThreadPoolExecutor, *, threads: int) -> bool:
        state = State.STALE if job in self._force else inspect_job(job)
        command = start_command(job, state=state)
        try:
            lock = take(job.folder)  # for the process, which holds it even if this one is killed
        except InUseError:  # just now: it is waited for
            return False
        if state is not State.INTERRUPTED:
            (job.folder / DONE_FILE).unlink(missing_ok=True)  # or a failure would look finished
            note_start(job)
        environment = {
            **os.environ,
            **dict.fromkeys(_THREAD_VARIABLES, str(threads)),
            "PYTHONUNBUFFERED": "1",
            VARIABLE: str(lock),
        }
        with job.log.open("ab" if state is State.INTERRUPTED else "wb") as log:
            log.write(f"$ {' '.join(command)}\n".encode())
            log.flush()
            process = subprocess.Popen(  # noqa: S603
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
                pass_fds=[lock],
                start_new_session=True,  # so that Ctrl-C is forwarded once, by us
            )
        say_who(lock, pid=process.pid, command=command)
        os.close(lock)
        running = Running(job, process, started=time.monotonic(), threads=threads)
        self._running[pool.submit(process.wait)] = running
        self._monitor.started(running, state)
        return True

    def _wait(self) -> list[Job]:
        """Wait for a moment, or until a process ends; return the jobs that have ended."""
        if not self._running:
            time.sleep(_POLL_S)
        ended, _ = wait(self._running, timeout=_POLL_S, return_when=FIRST_COMPLETED)
        jobs = [self._end(self._running.pop(future), future.result()) for future in ended]
        self._monitor.tick(self.running)
        return jobs

    def _end(self, running: Running, status: int) -> Job:
        job = running.job
        holder(job.folder)  # removes the file of the lock that ended with the process
        if status == 0 and job.evaluates:
            note_end(job, seconds=time.monotonic() - running.started)
        finished = status == 0 and (job.folder / DONE_FILE).is_file()
        stopped = Outcome.INTERRUPTED if self._signals else Outcome.FAILED
        self.outcomes[job] = Outcome.DONE if finished else stopped
        self._monitor.ended(running, self.outcomes[job])
        return job

    def _stop(self) -> None:
        """Pass the first signal on as Ctrl-C, the second as a request to end, further ones as a kill."""
        self._signals += 1
        passed_on = [signal.SIGINT, signal.SIGTERM, signal.SIGKILL][min(self._signals, 3) - 1]
        for running in self.running:
            if running.process.poll() is None:
                running.process.send_signal(passed_on)
        if self._signals == 1:
            self._monitor.stopping(self.running)


@contextmanager
def _on_signal(stop: Callable[[], None]) -> Iterator[None]:
    """Call ``stop`` on SIGINT, SIGTERM and SIGHUP."""

    def handle(number: int, frame: FrameType | None) -> None:
        stop()

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, handle) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
