"""Scores of programs: which verdict is worth what, what is left out, and how thorough an evaluation is."""

import json
import math

import pytest
import torch

from lightning_marlhf.callbacks.completion_records import scores_of
from lightning_marlhf.rollout.code_tests import CodeTestScorer, read_tests
from lightning_marlhf.rollout.program_tests import reward_of
from lightning_marlhf.sandbox.verdicts import Limits, ProgramVerdict, Report
from lightning_marlhf.types import Prompts, Rollout

SUM = {"inputs": ["1 2\n", "3 4\n", "5 5\n", "0 1\n"], "outputs": ["3\n", "7\n", "10\n", "1\n"]}
RIGHT = "a, b = map(int, input().split())\nprint(a + b)"


@pytest.fixture(scope="module")
def scorer():
    made = CodeTestScorer(workers=1, limits=Limits(cpu_s=1.0))
    yield made
    made.close()


def rollout(*texts, tests=SUM):
    size = len(texts)
    ids = torch.zeros(size, 1, dtype=torch.long)
    reference = {"problem_id": 1, "difficulty": "interview", "input_output": json.dumps(tests)}
    prompts = Prompts(ids, ids == 0, tuple(map(str, range(size))), ("?",) * size, (reference,) * size)
    return Rollout(prompts, ids, ids == 0, texts, torch.ones(size, dtype=torch.bool))


def test_a_program_is_worth_what_its_tests_say(scorer):
    programs = {
        RIGHT: 1.0,
        "input(); print(3)": -0.3 + 1.3 / 4,
        "print(-1)": -0.3,
        "print(1 / 0)": -0.6,
        "print(int(input().split()[0]) // int(input().split()[1]))": -0.6,
        "print(": -1.0,
        "while True: pass": -0.6,
        f"Sure:\n```python\n{RIGHT}\n```\nDone.": 1.0,
    }
    scores = scorer.submit(rollout(*programs), evaluating=False).result()
    torch.testing.assert_close(scores.values, torch.tensor([*programs.values()]))
    assert scores.valid.all()


def test_details_say_which_kind_each_program_was_and_its_share_of_tests(scorer):
    scores = scorer.submit(rollout(RIGHT, "print(3)", "print(1 / 0)", "print("), evaluating=False).result()
    kinds = [
        [name for name, value in row.items() if value == 1 and name not in ("code", "code_tests")]
        for row in scores.details
    ]
    assert kinds == [["code_passed"], ["code_wrong"], ["code_runtime"], ["code_compile"]]
    assert [row["code_tests"] for row in scores.details] == [1, 0.25, 0, 0]
    assert [row["code"] for row in scores.details] == pytest.approx(scores.values.tolist())


@pytest.mark.parametrize(
    "tests",
    [
        {"inputs": [], "outputs": []},
        {"inputs": ["1"], "outputs": []},
        {"inputs": ["1"], "outputs": [3]},
        {"inputs": [[1, 2]], "outputs": ["3"]},
    ],
)
def test_a_problem_without_usable_tests_is_no_reward_and_no_free_pass(scorer, tests):
    scores = scorer.submit(rollout(RIGHT, tests=tests), evaluating=False).result()
    assert scores.valid.tolist() == [False]
    assert all(math.isnan(value) for value in scores.details[0].values())


def test_a_row_without_a_score_is_recorded_without_one():
    class Rows:
        details = ({"code": math.nan},)
        raw_scores = torch.zeros(1)

    assert scores_of(Rows, 0) == {}


@pytest.mark.parametrize("completion", ["", "# no idea\n", "```python\n# no idea\n```\n"])
def test_an_empty_program_is_worth_no_more_than_a_crash(scorer, completion):
    scores = scorer.submit(rollout(completion), evaluating=False).result()
    assert scores.values.tolist() == pytest.approx([-0.6])
    assert scores.details[0]["code_runtime"] == 1
    assert scores.details[0]["code_tests"] == 0


def test_as_released_an_empty_program_is_merely_wrong():
    scorer = CodeTestScorer(workers=1, empty_is_error=False)
    try:
        scores = scorer.submit(rollout("# no idea\n"), evaluating=False).result()
    finally:
        scorer.close()
    assert scores.values.tolist() == pytest.approx([-0.3])


def test_a_function_is_found_before_its_own_test(scorer):
    response = "```python\ndef add(a, b):\n    return a + b\n```\nTest:\n```python\nprint(add(1, 2))\n```\n"
    tests = {"inputs": [[1, 2]], "outputs": [3], "fn_name": "add"}
    scores = scorer.submit(rollout(response, tests=tests), evaluating=False).result()
    assert scores.values.tolist() == [1.0]


def test_training_looks_at_the_first_tests_alone_and_evaluation_at_all():
    first_two = "s = input(); print({'1 2': 3, '3 4': 7}.get(s, 'no'))"
    scorer = CodeTestScorer(workers=1, max_tests=2)
    try:
        (training,) = scorer.submit(rollout(first_two), evaluating=False).result().values.tolist()
        (evaluation,) = scorer.submit(rollout(first_two), evaluating=True).result().values.tolist()
    finally:
        scorer.close()
    assert training == pytest.approx(1.0)
    assert evaluation == pytest.approx(-0.3 + 1.3 / 2)


def test_training_stops_at_the_first_error_and_evaluation_does_not(scorer):
    one_error = "if (s := input()) == '1 2': 1 / 0\nprint(sum(map(int, s.split())))"
    (training,) = scorer.submit(rollout(one_error), evaluating=False).result().details
    (evaluation,) = scorer.submit(rollout(one_error), evaluating=True).result().details
    assert training["code"] == evaluation["code"] == -0.6
    assert (training["code_tests"], evaluation["code_tests"]) == (0, 0.75)


def test_an_error_decides_before_an_earlier_wrong_answer():
    report = Report((ProgramVerdict.WRONG_ANSWER, ProgramVerdict.PASSED, ProgramVerdict.TIME_LIMIT), "A", "strict")
    assert reward_of(report) == -0.6


def test_a_scorer_can_be_used_again_after_it_was_closed(scorer):
    scorer.close()
    assert scorer.submit(rollout(RIGHT), evaluating=False).result().values.tolist() == [1.0]


def test_a_reference_of_another_task_is_refused():
    with pytest.raises(ValueError, match=r"whose reference has input_output.*data\.APPS"):
        read_tests({"who": "boss"})


def test_fewer_than_one_test_is_refused():
    with pytest.raises(ValueError, match="max_tests: expected at least 1, got 0"):
        CodeTestScorer(max_tests=0)
