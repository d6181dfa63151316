"""Parses the tests of a problem, runs them, and turns the report into a reward; needs no torch."""

from concurrent.futures import Future
from functools import lru_cache

from lightning_marlhf.sandbox.pool import Sandbox
from lightning_marlhf.sandbox.verdicts import ProgramVerdict, Report, Tests
from lightning_marlhf.tasks import apps
from lightning_marlhf.tasks.code import code_reward, does_nothing, extract_program

_CACHE_SIZE = 8  # problems; completions of one problem mostly come together


@lru_cache(_CACHE_SIZE)
def parse_tests(input_output: str) -> Tests | None:
    """Read APPS' column ``input_output``; None without usable tests."""
    tests = apps.parse_tests(input_output)
    if tests is None or apps.why_unusable(tests):
        return None
    return Tests(tests["inputs"], tests["outputs"], tests.get("fn_name") or None)


def run_completion(
    completion: str,
    tests: Tests,
    sandbox: Sandbox,
    *,
    raw: bool = False,
    empty_is_error: bool = True,
    stop_at_error: bool = False,
) -> "Future[Report]":
    """Begin to run the program in a completion on its tests.

    Args:
        completion: Completion of a model, untrusted.
        tests: Tests of its problem.
        sandbox: Sandbox that runs it.
        raw: the completion is the program.
        empty_is_error: a program that does nothing (see `does_nothing`) is an error in every test, so that an empty
            program
            earns no more than a crash; False runs it, as the released code does: its output is wrong, not an error.
        stop_at_error: see `Sandbox.submit`.
    """
    program = completion if raw else extract_program(completion, function=tests.fn_name)
    if not (empty_is_error and does_nothing(program)):
        return sandbox.submit(program, tests, stop_at_error=stop_at_error)
    errors = (ProgramVerdict.RUNTIME_ERROR,) * len(tests.outputs)
    report: Future[Report] = Future()
    report.set_result(Report(errors, sandbox.isolation, sandbox.match, "the program is empty"))
    return report


def reward_of(report: Report) -> float:
    """Return the reward of a program."""
    return code_reward(
        compiled=ProgramVerdict.COMPILE_ERROR not in report.results,
        errors=len(report.errors),
        passed=report.passed,
        failed=report.failed,
    )
