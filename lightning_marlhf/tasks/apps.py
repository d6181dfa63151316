"""APPS: programming problems with reference programs and tests.

Source of the prompt: ``generate_prompt`` of hendrycks/apps @ 1eecd13, eval/generate_gpt_codes.py.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from lightning_marlhf.tasks.rows import (
    Row,
    fingerprint,
    optional_text,
    require_columns,
    require_prompt,
    text,
    value,
    wrong,
)

HUB_ID = "codeparrot/apps"
HUB_ROWS: Mapping[str, int] = {"train": 5_000, "test": 5_000}
PROMPT_END = "\nANSWER:\n"

_COLUMNS = ("question", "starter_code", "solutions", "input_output", "difficulty")
_LONGEST_INT = 4_300  # digits that Python's `int` reads; some tests of APPS hold longer numbers


@dataclass(frozen=True)
class Problem:
    """A problem with its tests and reference solutions."""

    problem_id: int
    prompt: str
    group: str  # `fingerprint` of the question
    solutions: tuple[str, ...]  # programs that people wrote; empty if none is known
    tests: Mapping[str, Any] | None  # "inputs", "outputs" and perhaps "fn_name"; None if unknown
    fn_name: str | None  # the function that the tests call; None: they use standard input and output
    difficulty: str
    malformed: tuple[str, ...] = ()  # columns with unreadable JSON


def problem(row: Row) -> Problem:
    """Read a problem; ``solutions`` and ``input_output`` are JSON as text, and "" is none."""
    require_columns(row, [_id_column(row), *_COLUMNS])
    question = text(row, "question")
    require_prompt(question)
    starter_code = optional_text(row, "starter_code") or ""
    solutions = parse_solutions(optional_text(row, "solutions") or "")
    tests = parse_tests(optional_text(row, "input_output") or "")
    fn_name = (tests or {}).get("fn_name") or None
    return Problem(
        problem_id=_problem_id(row),
        prompt=_prompt(question, starter_code, calls=bool(fn_name or (starter_code and not tests))),
        group=fingerprint(question),
        solutions=solutions or (),
        tests=tests or None,
        fn_name=fn_name,
        difficulty=text(row, "difficulty"),
        malformed=tuple(
            column for column, parsed in {"solutions": solutions, "input_output": tests}.items() if parsed is None
        ),
    )


def row_of(text: str) -> Row:
    """Make a stored row that holds nothing but ``text``, so that it is framed as the data's own rows are."""
    return {
        "problem_id": 0,
        "question": text,
        "starter_code": None,
        "difficulty": "",
        "solutions": None,
        "input_output": None,
    }


def reference(row: Row) -> dict[str, Any]:
    """Return the data that tests and reports need; the tests as stored."""
    return {
        "problem_id": _problem_id(row),
        "difficulty": text(row, "difficulty"),
        "input_output": row.get("input_output"),
    }


def parse_solutions(content: str) -> tuple[str, ...] | None:
    """Read the column ``solutions``: programs, () where it is "", None if it is malformed."""
    programs = _parse(content or "[]")
    if not isinstance(programs, list) or not all(isinstance(each, str) for each in programs):
        return None
    return tuple(programs)


def parse_tests(content: str) -> Mapping[str, Any] | None:
    """Read the column ``input_output``: the tests, {} where it is "", None if it is malformed."""
    tests = _parse(content or '{"inputs": [], "outputs": []}')
    if not isinstance(tests, dict):
        return None
    inputs, outputs = tests.get("inputs"), tests.get("outputs")
    if not isinstance(inputs, list) or not isinstance(outputs, list):
        return None
    return tests if inputs else {}


def why_unusable(tests: Mapping[str, Any]) -> str:
    """Return why the result of `parse_tests` cannot test a program, or ""."""
    if not tests:
        return "no tests"
    inputs, outputs, function = tests["inputs"], tests["outputs"], tests.get("fn_name") or None
    if len(inputs) != len(outputs):
        return "not as many outputs as inputs"
    if function is None:
        texts = (line for each in [*inputs, *outputs] for line in (each if isinstance(each, list) else [each]))
        is_valid = all(isinstance(line, str) for line in texts)
    else:
        is_valid = isinstance(function, str) and all(isinstance(each, list) for each in inputs)
    return "" if is_valid else "tests that are neither texts nor calls"


def _prompt(question: str, starter_code: str, *, calls: bool) -> str:
    r"""Write the official prompt.

    If a problem has no tests, which tell standard input from calls, its starter code does, as in the official
    training code.

    >>> _prompt("Add two numbers.", "def add(a, b):", calls=True)
    '\nQUESTION:\nAdd two numbers.\ndef add(a, b):\nUse Call-Based format\nANSWER:\n'
    """
    code = f"\n{starter_code}" if starter_code else ""
    answer = "Call-Based" if calls else "Standard Input"
    return f"\nQUESTION:\n{question}{code}\nUse {answer} format{PROMPT_END}"


def _id_column(row: Row) -> str:
    """Name the column with the number of a problem, which the Hub's JSON lines call ``id``."""
    return "id" if "id" in row and "problem_id" not in row else "problem_id"


def _problem_id(row: Row) -> int:
    column = _id_column(row)
    number = value(row, column)
    if type(number) is not int:
        raise wrong(column, "a number", number)
    return number


def _parse(content: str) -> Any:
    """Read JSON with integers of any length; None if it is malformed."""
    try:
        return json.loads(content, parse_int=_integer)
    except ValueError:
        return None


def _integer(digits: str) -> int:
    return int(digits) if len(digits) < _LONGEST_INT else int(Decimal(digits))
