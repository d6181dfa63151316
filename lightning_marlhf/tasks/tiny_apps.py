"""Tiny APPS: short programming problems with tests, made by a seeded generator; rows have the columns of APPS.

A problem is one of a few dozen simple functions of a line of numbers or words, most often with a second step
("the largest number, times 3"), as a program that reads and prints or as a function. Some combinations of steps and
form are held out: no stage trains on them, and the held-out problems are made of them.

The demonstrations are noisy, as those that people write in a hurry: some give a wrong answer, some raise, some do not
compile. Tests separate these errors from the task.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from random import Random
from typing import Any, Literal

from lightning_marlhf.tasks import apps
from lightning_marlhf.tasks.tiny_apps_steps import FIRST, SECOND, Kind, Step

Split = Literal["sft", "ppo", "validate", "test"]
Flaw = Literal["wrong", "crash", "uncompilable"]

TESTS_PER_PROBLEM = 5
ALPHABET = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 \n.,:;'()[]{}=+-*/%<>_!?"
FUNCTION = "f"

_STARTER_CODE = f"def {FUNCTION}(a):"
_WORDS = ("a", "of", "ox", "cat", "tea", "sun", "ice", "moon", "tree", "stone", "river", "window")
_NUMBERS = range(-9, 21)
_LONGEST_INPUT = 6
_HELD_OUT_EVERY = 5  # combinations of two steps and a form: one of five is held out
_DISTINCT_OUTPUTS = 3  # of a problem's tests, at least
_MOST_TRIES = 1_000


@dataclass(frozen=True)
class Noise:
    """Noise of demonstrations: mutually exclusive probabilities of flaws."""

    wrong: float = 0.0  # runs, and fails a test
    crash: float = 0.0  # compiles, and raises
    uncompilable: float = 0.0

    def draw(self, random: Random) -> Flaw | None:
        """Choose a flaw, or none."""
        at = random.random()
        for flaw in ("wrong", "crash", "uncompilable"):
            at -= getattr(self, flaw)
            if at < 0:
                return flaw
        return None


DEMONSTRATION = Noise(wrong=0.16, crash=0.12, uncompilable=0.12)


@dataclass(frozen=True)
class Problem:
    """A problem: input kind, one or two steps with their constants, and the form of the question.

    Attributes:
        takes: "numbers" or "words".
        gives: Kind of the result.
        first: The first step.
        second: The second step, if there is one.
        constants: Constants of both steps.
        calls: Wants a function instead of a program that reads and prints.
        problem_id: Index among all problems.
    """

    problem_id: int
    takes: Kind
    gives: Kind
    first: Step
    second: Step | None
    constants: tuple[int, int]
    calls: bool

    @property
    def combination(self) -> tuple[Kind, str, str, bool]:
        """The key of the train/held-out split: steps and form, without constants."""
        return self.takes, self.first.says, self.second.says if self.second else "", self.calls

    @property
    def question(self) -> str:
        """The question as text."""
        first = self.first.says.format(k=self.constants[0])
        second = self.second.says.format(k=self.constants[1]) if self.second else ""
        verb = f"Given {self.takes}, find" if self.calls else f"Read {self.takes}. Print"
        return f"{verb} {first}{second}."

    @property
    def expression(self) -> str:
        """The Python expression of the answer, ``a`` being the input."""
        first = self.first.code.format(k=self.constants[0])
        return self.second.code.format(x=first, k=self.constants[1]) if self.second else first

    @property
    def difficulty(self) -> str:
        """One of APPS' names: problems that need a loop are "interview"."""
        return "interview" if " for " in self.first.code else "introductory"

    def solve(self, given: Sequence[Any]) -> Any:
        """Compute the expected output."""
        value = self.first.run(given, self.constants[0])
        return self.second.run(value, self.constants[1]) if self.second else value

    @cached_property
    def inputs(self) -> tuple[Sequence[Any], ...]:
        """The inputs of the tests, the first two of them edge cases; they belong to the question."""
        random = Random(self.question)  # noqa: S311
        for _ in range(_MOST_TRIES):
            drawn = tuple(_draw_input(self.takes, test, random) for test in range(TESTS_PER_PROBLEM))
            if self._distinguish(drawn):
                return drawn
        raise ValueError(f"no tests that tell programs apart: {self.question}")

    def _distinguish(self, inputs: Sequence[Sequence[Any]]) -> bool:
        """Return whether these inputs fail a constant program, and one that leaves the second step out."""
        firsts = [self.first.run(given, self.constants[0]) for given in inputs]
        answers = [self.solve(given) for given in inputs]
        distinct = len({str(answer) for answer in answers})
        return distinct >= _DISTINCT_OUTPUTS and (self.second is None or answers != firsts)

    def printed(self, given: Sequence[Any]) -> str:
        """Write the answer as a program prints it."""
        value = self.solve(given)
        return " ".join(map(str, value)) if isinstance(value, list) else str(value)

    @property
    def tests(self) -> Mapping[str, Any]:
        """The tests in the form of APPS."""
        if self.calls:
            return {
                "fn_name": FUNCTION,
                "inputs": [[given] for given in self.inputs],
                "outputs": [[self.solve(given)] for given in self.inputs],
            }
        return {
            "inputs": [" ".join(map(str, given)) + "\n" for given in self.inputs],
            "outputs": [self.printed(given) + "\n" for given in self.inputs],
        }

    def row(self) -> Mapping[str, Any]:
        """Return the problem with the columns of APPS."""
        return {
            "problem_id": self.problem_id,
            "question": self.question,
            "starter_code": _STARTER_CODE if self.calls else "",
            "solutions": json.dumps([write_program(self)]),
            "input_output": json.dumps(self.tests),
            "difficulty": self.difficulty,
        }

    @property
    def prompt(self) -> str:
        """The prompt of APPS."""
        return apps.problem(self.row()).prompt


@cache
def problems(split: Split) -> tuple[Problem, ...]:
    """List the problems of a split, those of all combinations in turn, so that the first ones are a fair sample."""
    held_out = split in ("validate", "test")
    half = split in ("ppo", "test")
    by_combination: dict[tuple[Kind, str, str, bool], list[Problem]] = {}
    for problem in every_problem():
        if is_held_out(problem) == held_out:
            by_combination.setdefault(problem.combination, []).append(problem)
    for combination, listed in by_combination.items():
        Random(repr(combination)).shuffle(listed)  # noqa: S311
    halves = [listed[(half + turn) % 2 :: 2] for turn, listed in enumerate(by_combination.values())]
    longest = max(map(len, halves))
    return tuple(part[turn] for turn in range(longest) for part in halves if turn < len(part))


@cache
def every_problem() -> tuple[Problem, ...]:
    """List all problems; the place of a problem is its number."""
    settings = (
        (takes, gives, first, second, (one, two), calls)
        for (takes, gives), firsts in FIRST.items()
        for first in firsts
        for second in (None, *SECOND[gives])
        for one in first.constants
        for two in (second.constants if second else (0,))
        for calls in (False, True)
    )
    return tuple(Problem(number, *each) for number, each in enumerate(settings))


def prompt_pieces() -> tuple[str, ...]:
    """List the prompt vocabulary without constants and marks: words with their leading space, and frames."""
    questions = {problem.question for problem in every_problem()}
    words = {word for question in questions for word in re.findall(r" ?[A-Za-z]{2,}", question)}
    frames = {part for problem in every_problem() for part in problem.prompt.split(problem.question)}
    return tuple(sorted(frames | words))


def longest_program() -> int:
    """Count the characters of the longest program that `demonstrate` writes."""
    return max(len(write_program(problem)) for problem in every_problem())


def is_held_out(problem: Problem) -> bool:
    """Return whether two steps in this form are kept from training; in the other form they are in training.

    A policy that has learned the steps and forms can generalise to it.
    """
    if problem.second is None:
        return False
    first = FIRST[problem.takes, problem.gives].index(problem.first)
    second = SECOND[problem.gives].index(problem.second)
    return (first + second + 2 * problem.calls) % _HELD_OUT_EVERY == 0


def write_program(problem: Problem) -> str:
    """Write the reference program."""
    return _program(problem, problem.expression)


def demonstrate(problem: Problem, *, noise: Noise, random: Random) -> str:
    """Write a program for ``problem`` with some ``noise``."""
    flaw = noise.draw(random)
    if flaw == "wrong":
        return _wrong_program(problem, random)
    if flaw == "crash":
        return _crashing_program(problem, random)
    if flaw == "uncompilable":
        return _uncompilable_program(problem, random)
    return write_program(problem)


def _program(problem: Problem, expression: str) -> str:
    if problem.calls:
        return f"{_STARTER_CODE}\n return {expression}"
    read = "list(map(int,input().split()))" if problem.takes == "numbers" else "input().split()"
    star = "*" if problem.gives == "list" else ""
    return f"a={read}\nprint({star}{expression})"


def _wrong_program(problem: Problem, random: Random) -> str:
    """Write the program of a problem that shares a step with this one, and that fails a test of this one."""
    others = _near(problem.takes, problem.gives)
    while True:
        other = random.choice(others)
        shares = other.first is problem.first or other.second is problem.second
        if shares and any(other.solve(given) != problem.solve(given) for given in problem.inputs):
            return _program(problem, other.expression)


@cache
def _near(takes: Kind, gives: Kind) -> tuple[Problem, ...]:
    kinds = (takes, gives)
    return tuple(each for each in every_problem() if (each.takes, each.gives) == kinds)


def _crashing_program(problem: Problem, random: Random) -> str:
    """Write a program that raises: an unknown name, an index out of range, a text for a number."""
    expression = problem.expression
    return _program(
        problem,
        random.choice(
            (
                re.sub(r"\ba\b", "b", expression),  # NameError
                f"a[{random.choice(range(10, 100))}]",  # IndexError
                f"int('{random.choice(ALPHABET[:26])}')",  # ValueError
            )
        ),
    )


def _uncompilable_program(problem: Problem, random: Random) -> str:
    """Write a program with a missing bracket or, in a function, no colon or no indentation."""
    program = write_program(problem)
    ways = [
        re.sub(r"\)(?=[^)]*$)", "", program),  # the last closing bracket
        re.sub(r"(?<=[a-z])\(", "", program, count=1),  # the first opening bracket
    ]
    if problem.calls:
        ways += [program.replace(":\n", "\n", 1), program.replace("\n ", "\n", 1)]
    return random.choice(ways)


def _draw_input(takes: Kind, test: int, random: Random) -> Sequence[Any]:
    """Draw an input: the first test has a single item, the second one item several times."""
    values = _NUMBERS if takes == "numbers" else _WORDS
    if test < 2:
        return [random.choice(values)] * (1 + 2 * test)
    return random.choices(values, k=random.randint(3, _LONGEST_INPUT))
