"""Tiny APPS: its programs really run; its tests tell right from wrong; noise and splits are as stated."""

import contextlib
import io
import re
from collections import Counter
from random import Random

import pytest

from lightning_marlhf.tasks import apps, tiny_apps
from lightning_marlhf.tasks.tiny_apps import DEMONSTRATION, Noise, demonstrate, write_program

SPLITS = ("sft", "ppo", "validate", "test")
PROBLEMS = tiny_apps.every_problem()


def fate(program, tests):
    """Run a program of the generator, which is ours and harmless; compare outputs word by word."""
    try:
        code = compile(program, "program", "exec")
    except SyntaxError:
        return "uncompilable"
    try:
        passed = all(_passes(code, given, wanted, tests.get("fn_name")) for given, wanted in _of(tests))
    except Exception:
        return "crash"
    return "passed" if passed else "wrong"


def _of(tests):
    return zip(tests["inputs"], tests["outputs"], strict=True)


def _passes(code, given, wanted, function):
    if function:
        names = {}
        exec(code, names)
        return [names[function](*given)] == wanted
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(code, {"input": iter(given.splitlines()).__next__})
    return printed.getvalue().split() == wanted.split()


def demonstrations(noise, number):
    for i in range(number):
        problem = PROBLEMS[i * 7 % len(PROBLEMS)]
        yield problem, demonstrate(problem, noise=noise, random=Random(f"test/{i}"))


def test_every_reference_program_passes_all_its_tests():
    fates = {problem.question: fate(write_program(problem), problem.tests) for problem in PROBLEMS}
    assert {question: found for question, found in fates.items() if found != "passed"} == {}


def test_no_constant_program_passes_and_no_problem_has_the_tests_of_its_first_step_alone():
    for problem in PROBLEMS:
        outputs = problem.tests["outputs"]
        assert len({str(output) for output in outputs}) >= 3
        if problem.second:
            alone = problem.first.run
            firsts = [alone(given, problem.constants[0]) for given in problem.inputs]
            assert firsts != [problem.solve(given) for given in problem.inputs]


def test_a_few_dozen_families_ask_for_programs_and_for_functions():
    assert 24 <= len({(problem.takes, problem.first.says) for problem in PROBLEMS}) <= 60
    assert Counter(problem.calls for problem in PROBLEMS)[True] == len(PROBLEMS) / 2
    assert {problem.difficulty for problem in PROBLEMS} == {"introductory", "interview"}


@pytest.mark.parametrize(
    ("noise", "expected"),
    [
        (Noise(), "passed"),
        (Noise(wrong=1.0), "wrong"),
        (Noise(crash=1.0), "crash"),
        (Noise(uncompilable=1.0), "uncompilable"),
    ],
)
def test_a_flaw_does_what_its_name_says(noise, expected):
    for problem, program in demonstrations(noise, 400):
        assert fate(program, problem.tests) == expected, program


def test_demonstrations_have_the_stated_shares_of_flaws():
    number = 2000
    fates = Counter(fate(program, problem.tests) for problem, program in demonstrations(DEMONSTRATION, number))
    for flaw in ("wrong", "crash", "uncompilable"):
        # 3.5 standard deviations of a share of 2,000
        assert fates[flaw] / number == pytest.approx(getattr(DEMONSTRATION, flaw), abs=0.033)


def test_held_out_combinations_are_never_trained_on_and_their_steps_are():
    combinations = {split: {each.combination for each in tiny_apps.problems(split)} for split in SPLITS}
    trained = combinations["sft"] | combinations["ppo"]
    held_out = combinations["test"] | combinations["validate"]
    assert len(held_out) > 40
    assert not trained & held_out
    for takes, first, second, calls in held_out:
        assert (takes, first, second, not calls) in trained


def test_every_problem_is_in_one_split():
    numbers = [problem.problem_id for split in SPLITS for problem in tiny_apps.problems(split)]
    assert sorted(numbers) == list(range(len(PROBLEMS)))
    questions = {(problem.question, problem.calls) for problem in PROBLEMS}
    assert len(questions) == len(PROBLEMS)


def test_the_first_problems_of_a_split_are_of_all_its_combinations():
    for split in SPLITS:
        listed = [problem.combination for problem in tiny_apps.problems(split)]
        number = len(set(listed))
        assert len(set(listed[:number])) == number


def test_a_row_is_one_of_apps():
    problem = next(each for each in PROBLEMS if each.calls)
    read = apps.problem(problem.row())
    assert read.tests == problem.tests
    assert read.fn_name == tiny_apps.FUNCTION
    assert read.solutions == (write_program(problem),)
    assert read.malformed == ()


def test_texts_stay_within_the_alphabet_and_the_stated_length():
    longest = tiny_apps.longest_program()
    for problem, program in demonstrations(DEMONSTRATION, 1000):
        assert set(problem.prompt + program) <= set(tiny_apps.ALPHABET)
        assert len(program) <= longest


def test_no_piece_of_a_prompt_is_in_a_program():
    """Then a program is spelt character by character."""
    pieces = re.compile("|".join(map(re.escape, tiny_apps.prompt_pieces())))
    assert not any(pieces.search(program) for _, program in demonstrations(DEMONSTRATION, 1000))


def test_the_same_seed_writes_the_same_program():
    problem = PROBLEMS[40]
    first, second = (
        [demonstrate(problem, noise=DEMONSTRATION, random=Random(seed)) for seed in range(20)] for _ in range(2)
    )
    assert first == second
    assert len(set(first)) > 3


def test_a_problem_and_its_program_by_hand():
    problem = next(each for each in PROBLEMS if each.question == "Read numbers. Print the largest number, times 3.")
    assert problem.prompt == (
        "\nQUESTION:\nRead numbers. Print the largest number, times 3.\nUse Standard Input format\nANSWER:\n"
    )
    assert write_program(problem) == "a=list(map(int,input().split()))\nprint(max(a)*3)"
    assert problem.printed([4, -1, 7]) == "21"
