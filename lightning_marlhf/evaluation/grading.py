"""Grades programs by unit tests, resumably into a file."""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lightning_marlhf.display.counter import Counter
from lightning_marlhf.evaluation.grading_inputs import Attempt, Problems, read_attempts
from lightning_marlhf.files import cut_unfinished_line, read_jsonl
from lightning_marlhf.records import GradedProgram, append_jsonl
from lightning_marlhf.rollout.program_tests import reward_of, run_completion
from lightning_marlhf.sandbox.pool import Sandbox
from lightning_marlhf.sandbox.verdicts import Limits, Match, Report, Tests
from lightning_marlhf.tasks.rows import fingerprint

_IN_FLIGHT = 16  # programs per worker, so that none waits for the slowest, whose row comes first
_LONGEST_MESSAGE = 500
_FIRST_BYTES = b'{"row": '  # of every file of results

_Pending = tuple[Attempt, Future[Report]]


@dataclass(frozen=True)
class GradingJob:
    """What is graded, and how.

    Attributes:
        problems: Problems with their tests.
        completions: File of completions.
        limits: Limits of each test.
        match: How outputs are compared.
        raw: Completions are programs.
        num_tests: Number of a problem's first tests that decide; None: all.
        empty_is_error: See `run_completion`.
    """

    problems: Problems
    completions: Path
    limits: Limits
    match: Match
    raw: bool
    num_tests: int | None
    empty_is_error: bool = True

    def attempts(self) -> Iterator[Attempt]:
        """Read the completions of problems with valid tests, in order."""
        attempts = read_attempts(self.completions)
        return (each for each in attempts if not self.problems[each.problem_id].unusable)

    def identity(self, attempt: Attempt) -> dict[str, Any]:
        """Return the columns of an attempt's `GradedProgram` that are known before it is graded."""
        problem = self.problems[attempt.problem_id]
        return {
            "row": attempt.row,
            "problem_id": attempt.problem_id,
            "sample": attempt.sample,
            "difficulty": problem.difficulty,
            "match": self.match,
            "fingerprint": fingerprint(problem.fingerprint + attempt.completion),
            "settings": {
                **asdict(self.limits),
                "tests": self.num_tests,
                "raw": self.raw,
                "empty_is_error": self.empty_is_error,
            },
        }

    def submit(self, attempt: Attempt, sandbox: Sandbox) -> Future[Report]:
        """Start the program of an attempt."""
        tests, first = self.problems.tests(attempt.problem_id), slice(self.num_tests)
        return run_completion(
            attempt.completion,
            Tests(tests.inputs[first], tests.outputs[first], tests.fn_name),
            sandbox,
            raw=self.raw,
            empty_is_error=self.empty_is_error,
        )


def find_missing(out: Path, job: GradingJob) -> tuple[int, Iterator[Attempt]]:
    """Count the results that a file has, and return the attempts that it lacks.

    Raises:
        ValueError: The file holds something else, or results of other completions, tests or settings.
    """
    attempts = job.attempts()
    if not out.exists():
        return 0, attempts
    with out.open("rb") as file:
        if not _FIRST_BYTES.startswith(file.read(len(_FIRST_BYTES))):
            raise ValueError(f"{out} holds something else: give another --out, or --overwrite")
    cut_unfinished_line(out)
    num_rows = 0
    for num_rows, row in enumerate(read_jsonl(out), start=1):
        attempt = next(attempts, None)
        expected = {"row": None} if attempt is None else job.identity(attempt)
        differing = {column for column in expected if row.get(column) != expected[column]}
        if differing:
            what = "settings" if differing <= {"settings", "match"} else "completions or tests"
            raise ValueError(
                f"{out} holds other results (line {num_rows}: {what} differ): give another --out, or --overwrite"
            )
    return num_rows, attempts


def grade_into(
    out: Path,
    attempts: Iterable[Attempt],
    job: GradingJob,
    sandbox: Sandbox,
    *,
    workers: int,
    total: int,
    overwrite: bool,
) -> None:
    """Grade, and append results to a file as they come.

    Args:
        out: File of `GradedProgram` (JSONL).
        attempts: Completions to grade.
        job: How they are graded.
        sandbox: Runs their programs.
        workers: Number of programs that the sandbox runs at a time.
        total: Number of attempts, for the progress bar.
        overwrite: Begin the file anew.

    Raises:
        ValueError: The file cannot be written; what it has stays.
        SandboxError: The machine failed; results so far are in the file.
    """
    with _one_line_errors(out):  # before anything is graded
        out.parent.mkdir(parents=True, exist_ok=True)
        out.open("w" if overwrite else "a").close()
    with Counter("programs", total) as counter:
        for graded in grade(attempts, job, sandbox, in_flight=_IN_FLIGHT * workers):
            with _one_line_errors(out):
                append_jsonl(out, graded)
            counter.add(len(graded))


def grade(
    attempts: Iterable[Attempt], job: GradingJob, sandbox: Sandbox, *, in_flight: int
) -> Iterator[list[GradedProgram]]:
    """Yield results in order, as many as there are at a time.

    Args:
        attempts: Completions to grade.
        job: How they are graded.
        sandbox: Runs their programs.
        in_flight: Maximum number of programs that wait, run, or wait for those before them.

    Raises:
        SandboxError: The machine failed; what came before has been yielded.
    """
    pending: deque[_Pending] = deque()
    for attempt in attempts:
        pending.append((attempt, job.submit(attempt, sandbox)))
        if len(pending) >= in_flight:
            yield _take_finished(pending, job)
    while pending:
        yield _take_finished(pending, job)


def _take_finished(pending: deque[_Pending], job: GradingJob) -> list[GradedProgram]:
    """Wait for the first, and take those after it that are done by then; a failure is left for the next call."""
    graded = [_to_record(*pending.popleft(), job)]
    while pending and pending[0][1].done() and pending[0][1].exception() is None:
        graded.append(_to_record(*pending.popleft(), job))
    return graded


def _to_record(attempt: Attempt, running: Future[Report], job: GradingJob) -> GradedProgram:
    report = running.result()
    return GradedProgram(
        **job.identity(attempt),
        verdict=report.verdict.value,
        results=[each.value for each in report.results],
        passed=report.passed,
        failed=report.failed,
        reward=reward_of(report),
        isolation=report.isolation,
        message=report.message[:_LONGEST_MESSAGE],
    )


@contextmanager
def _one_line_errors(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ValueError(
            f"cannot write {out}: {error.strerror}; what is there stays; rerun without --overwrite to resume"
        ) from error
