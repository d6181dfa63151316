"""Problems with their tests, and completions to be graded by them; both are streamed."""

import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from lightning_marlhf.display.text import printable
from lightning_marlhf.files import BLANK, is_utf8, open_bytes, parse_row, read_jsonl, read_lines
from lightning_marlhf.sandbox.verdicts import Tests
from lightning_marlhf.tasks import apps
from lightning_marlhf.tasks.rows import MalformedRow, UnusableRow, fingerprint, require_columns, text, value, wrong

_CACHED_TESTS = 8  # problems whose tests stay in memory; the completions of one mostly come together


@dataclass(frozen=True)
class ProblemEntry:
    """In-memory index entry of a problem."""

    offset: int  # of its line, in bytes
    difficulty: str
    fingerprint: str  # of its tests
    unusable: str  # why its tests are unusable; "" if they are valid


class Problems(Mapping[int, ProblemEntry]):
    """The problems of a file by their ids. Their tests, over a gigabyte in APPS, are read on demand.

    Args:
        path: Rows with the columns of codeparrot/apps.

    Raises:
        ValueError: The file has none, a row breaks the schema, or two rows have one id.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._entries: dict[int, ProblemEntry] = {}
        self.tests = lru_cache(_CACHED_TESTS)(self._read_tests)
        rows = (line for line in read_lines(path) if line.text.strip(BLANK))
        for number, line in enumerate(rows, start=1):
            try:
                self._add(line.offset, parse_row(line.text))
            except ValueError as error:
                raise ValueError(f"{path}: row {number}: {error}") from None
        if not self._entries:
            raise ValueError(f"no problems in {path}")

    def __getitem__(self, problem_id: int) -> ProblemEntry:
        return self._entries[problem_id]

    def __iter__(self) -> Iterator[int]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def _add(self, offset: int, row: Mapping[str, Any]) -> None:
        problem = apps.problem(row)
        if problem.problem_id in self._entries:
            raise MalformedRow(f"expected different problems, got problem {problem.problem_id} twice")
        try:
            _valid_tests(problem)
            unusable = ""
        except UnusableRow as error:
            unusable = str(error)
        tests = fingerprint(row["input_output"] or "")
        self._entries[problem.problem_id] = ProblemEntry(offset, problem.difficulty, tests, unusable)

    def _read_tests(self, problem_id: int) -> Tests:
        with open_bytes(self._path) as file:
            file.seek(self._entries[problem_id].offset)
            return _valid_tests(apps.problem(parse_row(file.readline().decode())))


def _valid_tests(problem: apps.Problem) -> Tests:
    """Return the tests of a problem; raise `UnusableRow` with the reason if they are unusable."""
    if "input_output" in problem.malformed:
        raise UnusableRow("input_output cannot be parsed")
    tests = problem.tests or {}
    if why := apps.why_unusable(tests):
        raise UnusableRow(why)
    return Tests(tests["inputs"], tests["outputs"], problem.fn_name)


@dataclass(frozen=True)
class Attempt:
    """A completion to be graded."""

    row: int  # in its file, from 1
    problem_id: int
    sample: int  # number among the problem's completions, from 0
    completion: str


def read_attempts(path: Path) -> Iterator[Attempt]:
    """Read completions: rows with ``problem_id`` and ``completion``, or as runs and `generate` write them.

    Raises:
        ValueError: A row is neither; names the file and the row.
    """
    samples: dict[int, int] = {}
    for number, row in enumerate(read_jsonl(path, lone_surrogates=True), start=1):
        ours = "response" in row and "completion" not in row
        id_column = "reference.problem_id" if ours and "problem_id" not in row else "problem_id"
        text_column = "response" if ours else "completion"
        try:
            require_columns(row, [id_column, text_column])
            problem_id = value(row, id_column)
            if type(problem_id) is not int:
                raise wrong(id_column, "a whole number", problem_id)
            completion = text(row, text_column)
        except MalformedRow as error:
            raise ValueError(f"{path}: row {number}: {error}") from None
        sample = samples[problem_id] = samples.get(problem_id, -1) + 1
        yield Attempt(number, problem_id, sample, completion)


def count_gradable(completions: Path, problems: Problems, *, source: Path) -> Counter[int]:
    """Count the completions of each problem with valid tests; print on stderr which are left out, and why.

    Raises:
        ValueError: There are no completions, none can be graded, or one is of a problem that ``problems`` lacks.
    """
    counts = _count_completions(completions, problems, source)
    left_out: dict[str, list[int]] = {}
    for problem_id in counts:
        if why := problems[problem_id].unusable:
            left_out.setdefault(why, []).append(problem_id)
    if sum(map(len, left_out.values())) == len(counts):
        first = next(iter(counts))
        raise ValueError(f"no problem of {completions} can be graded (problem {first}: {problems[first].unusable})")
    if without := len(problems) - len(counts):
        sys.stderr.write(f"problems without completions, not counted: {without}\n")
    for why, ids in sorted(left_out.items()):
        sys.stderr.write(
            f"completions left out: {sum(counts.pop(each) for each in ids)}, of {len(ids)} problems ({why}; the first "
            f"is problem {ids[0]})\n"
        )
    return counts


def _count_completions(completions: Path, problems: Problems, source: Path) -> Counter[int]:
    counts: Counter[int] = Counter()
    halves = []
    for each in read_attempts(completions):
        if each.problem_id not in problems:
            raise ValueError(f"{completions}: row {each.row}: problem {each.problem_id} is not in {source}")
        counts[each.problem_id] += 1
        if not is_utf8(each.completion):
            halves.append(each.row)
    if not counts:
        raise ValueError(f"no completions in {completions}")
    if halves:
        why = "half of a surrogate pair, as in a text cut within an emoji: no program that compiles"
        sys.stderr.write(printable(f"{completions}: row {halves[0]}: {why} ({len(halves)} such rows)\n"))
    return counts
