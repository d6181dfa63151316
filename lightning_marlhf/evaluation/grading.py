"""What `grade` does: reads problems and completions, runs the programs. Neither file has to fit into memory."""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from lightning_marlhf.files import BLANK, open_bytes, parse_row, read_jsonl, read_lines
from lightning_marlhf.records import GradedProgram
from lightning_marlhf.rollout.program_tests import reward_of, run_completion
from lightning_marlhf.sandbox.pool import Sandbox
from lightning_marlhf.sandbox.verdicts import Limits, Match, Report, Tests
from lightning_marlhf.tasks import apps
from lightning_marlhf.tasks.rows import (
    MalformedRow,
    UnusableRow,
    fingerprint,
    require_columns,
    text,
    value,
    wrong,
)

_READ_PROBLEMS = 8  # whose tests are kept; the completions of one mostly come together
_LONGEST_MESSAGE = 500


@dataclass(frozen=True)
class Attempt:
    """A completion that is to be graded."""

    row: int  # in its file, from 1
    problem_id: int
    sample: int  # which of the problem's completions, from 0
    completion: str


_Pending = tuple[Attempt, Future[Report]]


@dataclass(frozen=True)
class Entry:
    """What is kept of a problem."""

    offset: int  # of its line, in bytes
    difficulty: str
    fingerprint: str  # of its tests
    unusable: str  # why nothing can be graded by its tests; "" where they are sound


class Problems(Mapping[int, Entry]):
    """The problems of a file by their numbers.

    Their tests, over a gigabyte in APPS, are read when they are needed.

    Args:
        path: rows as codeparrot/apps has them.

    Raises:
        ValueError: the file has none, a row breaks the schema, or two have one number.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._entries: dict[int, Entry] = {}
        self.tests = lru_cache(_READ_PROBLEMS)(self._read_tests)
        rows = (line for line in read_lines(path) if line.text.strip(BLANK))
        for number, line in enumerate(rows, start=1):
            try:
                self._add(line.offset, parse_row(line.text))
            except ValueError as error:
                raise ValueError(f"{path}: row {number}: {error}") from None
        if not self._entries:
            raise ValueError(f"no problems in {path}")

    def __getitem__(self, problem_id: int) -> Entry:
        return self._entries[problem_id]

    def __iter__(self) -> Iterator[int]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def _add(self, offset: int, row: Mapping[str, Any]) -> None:
        problem = apps.problem(row)
        if problem.problem_id in self._entries:
            raise MalformedRow(
                f"expected different problems, got problem {problem.problem_id} twice"
            )
        try:
            read_tests(problem)
            unusable = ""
        except UnusableRow as error:
            unusable = str(error)
        tests = fingerprint(row["input_output"] or "")
        self._entries[problem.problem_id] = Entry(offset, problem.difficulty, tests, unusable)

    def _read_tests(self, problem_id: int) -> Tests:
        with open_bytes(self._path) as file:
            file.seek(self._entries[problem_id].offset)
            return read_tests(apps.problem(parse_row(file.readline().decode())))


def read_tests(problem: apps.Problem) -> Tests:
    """Take the tests out of a problem.

    Raises:
        UnusableRow: it has none, or nothing can be graded by them; says why.
    """
    if "input_output" in problem.malformed:
        raise UnusableRow("input_output cannot be parsed")
    tests = problem.tests or {}
    if why := apps.why_unusable(tests):
        raise UnusableRow(why)
    return Tests(tests["inputs"], tests["outputs"], problem.fn_name)


def read_attempts(path: Path) -> Iterator[Attempt]:
    """Read completions: rows with ``problem_id`` and ``completion``, or as runs and `generate` write them.

    Raises:
        ValueError: a row is neither.
    """
    samples: dict[int, int] = {}
    for number, row in enumerate(read_jsonl(path, lone_surrogates=True), start=1):
        try:
            problem_id, completion = _read_completion(row)
        except MalformedRow as error:
            raise ValueError(f"{path}: row {number}: {error}") from None
        sample = samples[problem_id] = samples.get(problem_id, -1) + 1
        yield Attempt(number, problem_id, sample, completion)


def _read_completion(row: Mapping[str, Any]) -> tuple[int, str]:
    ours = "response" in row and "completion" not in row
    column = "reference.problem_id" if ours and "problem_id" not in row else "problem_id"
    content = "response" if ours else "completion"
    require_columns(row, [column, content])
    problem_id = value(row, column)
    if type(problem_id) is not int:
        raise wrong(column, "a whole number", problem_id)
    return problem_id, text(row, content)


@dataclass(frozen=True)
class Job:
    """What is to be graded, and how.

    Attributes:
        problems: with their tests.
        completions: a file of them.
        limits: of each test.
        match: how outputs are compared.
        raw: completions are programs.
        num_tests: the first so many of a problem decide; None: all.
        empty_is_error: see `run_completion`.
    """

    problems: Problems
    completions: Path
    limits: Limits
    match: Match
    raw: bool
    num_tests: int | None
    empty_is_error: bool = True

    def attempts(self) -> Iterator[Attempt]:
        """Read the completions of problems with sound tests, in order."""
        attempts = read_attempts(self.completions)
        return (each for each in attempts if not self.problems[each.problem_id].unusable)

    def identity(self, attempt: Attempt) -> dict[str, Any]:
        """Give the columns of its `GradedProgram` that are known before it is graded."""
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
        """Begin to run its program."""
        tests, first = self.problems.tests(attempt.problem_id), slice(self.num_tests)
        return run_completion(
            attempt.completion,
            Tests(tests.inputs[first], tests.outputs[first], tests.fn_name),
            sandbox,
            raw=self.raw,
            empty_is_error=self.empty_is_error,
        )


def grade(
    attempts: Iterable[Attempt], job: Job, sandbox: Sandbox, *, in_flight: int
) -> Iterator[list[GradedProgram]]:
    """Yield results in order, as many as there are at a time.

    Args:
        attempts: completions.
        job: what they belong to.
        sandbox: runs their programs.
        in_flight: programs that may wait, run, or wait for those before them.

    Raises:
        SandboxError: the machine failed; what came before has been yielded.
    """
    pending: deque[_Pending] = deque()
    for attempt in attempts:
        pending.append((attempt, job.submit(attempt, sandbox)))
        if len(pending) >= in_flight:
            yield _take_finished(pending, job)
    while pending:
        yield _take_finished(pending, job)


def _take_finished(pending: deque[_Pending], job: Job) -> list[GradedProgram]:
    """Wait for the first, and take those with it that are there by then; what failed stays for the next time."""
    graded = [_graded(*pending.popleft(), job)]
    while pending and pending[0][1].done() and pending[0][1].exception() is None:
        graded.append(_graded(*pending.popleft(), job))
    return graded


def _graded(attempt: Attempt, running: Future[Report], job: Job) -> GradedProgram:
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
