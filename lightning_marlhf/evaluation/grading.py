"""Grades programs by unit tests, resumably into a file, and writes the table of results."""

from collections import Counter as Counts
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from lightning_marlhf.display.columns import align
from lightning_marlhf.display.counter import Counter
from lightning_marlhf.display.text import printable
from lightning_marlhf.evaluation.grading_inputs import Attempt, Problems, read_attempts
from lightning_marlhf.files import read_jsonl, truncate_partial_line
from lightning_marlhf.records import GradedProgram, append_jsonl
from lightning_marlhf.rollout.program_tests import reward_of, run_completion
from lightning_marlhf.sandbox.pool import Sandbox
from lightning_marlhf.sandbox.verdicts import Limits, Match, ProgramVerdict, Report, Tests
from lightning_marlhf.tasks.rows import fingerprint

_IN_FLIGHT = 16  # programs per worker, so that none waits for the slowest, whose row comes first
_LONGEST_MESSAGE = 500
_DIFFICULTIES = ("introductory", "interview", "competition")  # APPS' names, the easiest first
_FIRST_BYTES = b'{"row": '  # of every file of results

_Pending = tuple[Attempt, Future[Report]]


@dataclass(frozen=True)
class GradingJob:
    """Completions to grade, and the settings."""

    problems: Problems
    completions: Path
    limits: Limits
    match: Match  # how outputs are compared
    raw: bool  # completions are programs
    num_tests: int | None  # number of a problem's first tests to run; None: all
    empty_is_error: bool = True  # see `run_completion`

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
    truncate_partial_line(out)
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

    Raises:
        ValueError: The file cannot be written; existing rows are kept.
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

    At most ``in_flight`` programs wait, run, or wait for those before them.

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
            f"cannot write {out}: {error.strerror}; existing rows are kept; rerun without --overwrite to resume"
        ) from error


class _Sample(NamedTuple):
    problem: str
    number: int
    passed: int
    total: int
    verdict: ProgramVerdict


def grading_table(rows: Iterable[GradedProgram], ks: Sequence[int]) -> Iterator[str]:
    """Yield the lines of the table: problems solved, tests passed and verdicts, overall and by difficulty."""
    every: list[_Sample] = []
    by_difficulty: dict[str, list[_Sample]] = {}
    conditions: set[str] = set()
    for row in rows:
        total = row.passed + row.failed
        sample = _Sample(str(row.problem_id), row.sample, row.passed, total, ProgramVerdict(row.verdict))
        every.append(sample)
        by_difficulty.setdefault(row.difficulty, []).append(sample)
        conditions.add(f"match {row.match}, isolation level {row.isolation}")
    columns = [{"": "all"} | _cells(every, ks)]
    columns += [
        {"": printable(name, keep="") or "(no difficulty)"} | _cells(by_difficulty[name], ks)
        for name in sorted(
            by_difficulty, key=lambda name: (_DIFFICULTIES.index(name) if name in _DIFFICULTIES else 3, name)
        )
    ]
    yield from align([[label, *(column[label] for column in columns)] for label in columns[0]])
    yield f"{'; '.join(sorted(conditions))}. In brackets: 95 % intervals over problems."
    yield "Verdicts: fraction of samples, by the first failure."


def _cells(samples: Sequence[_Sample], ks: Sequence[int]) -> dict[str, str]:
    """Write one column of the table, by the labels of its lines."""
    from lightning_marlhf.evaluation.pass_at_k import PassAtK

    metric = PassAtK(ks=ks)
    metric.update(
        [each.problem for each in samples],
        [""] * len(samples),
        samples=[each.number for each in samples],
        passed=[each.passed for each in samples],
        total=[each.total for each in samples],
    )
    numbers = metric.compute()
    verdicts = Counts(each.verdict for each in samples)
    pass_at_k = {f"pass@{k}": _with_interval(numbers, f"pass@{k}") for k in ks}
    return {
        "problems": f"{numbers['num_problems']:,}",
        "samples": f"{numbers['num_samples']:,}",
        **pass_at_k,
        "test-case average": _with_interval(numbers, "test_case_average"),
        **{each.value: _percent(verdicts[each] / len(samples)) for each in ProgramVerdict},
    }


def _with_interval(numbers: Mapping[str, float], name: str) -> str:
    mean = _percent(numbers[name])
    if numbers["num_problems"] < 2:
        return mean
    return f"{mean} ({100 * numbers[f'{name}_low']:.1f} to {100 * numbers[f'{name}_high']:.1f})"


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.1f} %"
