"""APPS rows: the official prompt, and the JSON columns, some of which are broken in the original."""

import json

import pytest

from lightning_marlhf.tasks.apps import parse_tests, problem
from lightning_marlhf.tasks.rows import MalformedRow, UnusableRow

TESTS = {"inputs": ["1 2\n"], "outputs": ["3\n"]}
CALLS = {"fn_name": "add", "inputs": [[1, 2]], "outputs": [3]}


def row(**columns):
    stored = {
        "problem_id": 7,
        "question": "Add two numbers.",
        "solutions": json.dumps(["print(3)", "print(1 + 2)"]),
        "input_output": json.dumps(TESTS),
        "difficulty": "interview",
        "url": "",
        "starter_code": "",
    }
    return stored | columns


def test_a_problem_of_standard_input_is_asked_as_officially():
    assert problem(row()).prompt == ("\nQUESTION:\nAdd two numbers.\nUse Standard Input format\nANSWER:\n")


def test_a_problem_of_calls_shows_its_starter_code():
    called = problem(row(input_output=json.dumps(CALLS), starter_code="def add(a, b):\n\t"))
    assert called.fn_name == "add"
    assert called.prompt == ("\nQUESTION:\nAdd two numbers.\ndef add(a, b):\n\t\nUse Call-Based format\nANSWER:\n")


def test_the_tests_and_not_the_starter_code_tell_the_format():
    assert "Standard Input" in problem(row(starter_code="import sys")).prompt
    assert "Call-Based" in problem(row(input_output=json.dumps(CALLS))).prompt


@pytest.mark.parametrize("unknown", ["", None, "{broken"])
def test_without_tests_the_starter_code_tells_the_format(unknown):
    assert "Call-Based" in problem(row(input_output=unknown, starter_code="def f():")).prompt
    assert "Standard Input" in problem(row(input_output=unknown)).prompt


def test_what_is_known_of_the_answers_is_kept():
    found = problem(row())
    assert (found.problem_id, found.difficulty, found.malformed) == (7, "interview", ())
    assert (found.solutions, found.tests) == (("print(3)", "print(1 + 2)"), TESTS)
    assert found.fn_name is None


def test_columns_that_are_empty_are_unknown_but_not_malformed():
    found = problem(row(solutions="", input_output=""))
    assert (found.solutions, found.tests, found.malformed) == ((), None, ())


@pytest.mark.parametrize("content", ["[", "{}", "[1]", "3", '["open'])
def test_solutions_that_are_no_list_of_programs_are_malformed(content):
    found = problem(row(solutions=content))
    assert (found.solutions, found.malformed) == ((), ("solutions",))
    assert found.tests == TESTS


@pytest.mark.parametrize("content", ["{", "[]", '{"inputs": []}', '{"inputs": 1, "outputs": []}'])
def test_tests_that_are_no_inputs_and_outputs_are_malformed(content):
    found = problem(row(input_output=content))
    assert (found.tests, found.malformed) == (None, ("input_output",))
    assert found.solutions


def test_integers_longer_than_python_reads_are_read():
    digits = "-1" + "0" * 5_000
    tests = parse_tests(f'{{"inputs": [[{digits}]], "outputs": [1]}}')
    assert tests is not None
    assert tests["inputs"] == [[-(10**5_000)]]


def test_the_jsonl_files_of_the_hub_call_the_number_id():
    stored = row(id=9)
    del stored["problem_id"]
    assert problem(stored).problem_id == 9


def test_problems_share_their_question():
    assert problem(row()).group == problem(row(problem_id=8, solutions="")).group
    assert problem(row(question="Subtract.")).group != problem(row()).group


def test_a_problem_without_a_question_is_unusable():
    with pytest.raises(UnusableRow, match=r"^empty prompt$"):
        problem(row(question="\n"))


@pytest.mark.parametrize(
    ("column", "content", "expected"),
    [
        ("problem_id", "7", "a number, got '7'"),
        ("question", None, "a text, got None"),
        ("solutions", ["print(3)"], "a text, got ['print(3)']"),
        ("input_output", TESTS, "a text, got {'inputs'"),
        ("difficulty", 3, "a text, got 3"),
    ],
)
def test_a_column_of_another_type_is_named(column, content, expected):
    with pytest.raises(MalformedRow) as error:
        problem(row(**{column: content}))
    assert str(error.value).startswith(f"column {column}: expected {expected}")
