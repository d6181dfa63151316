"""The tests of a problem, and what a report on them is worth; without torch, so that `grade` starts at once."""

from functools import lru_cache

from lightning_marlhf.sandbox.verdicts import Report, Tests, Verdict
from lightning_marlhf.tasks import apps
from lightning_marlhf.tasks.code import code_reward

_KEPT = 8  # problems; the programs for one mostly come together


@lru_cache(_KEPT)
def parse_tests(input_output: str) -> Tests | None:
    """Read APPS' column ``input_output``; None where there are no tests that can be used."""
    tests = apps.parse_tests(input_output)
    if tests is None or apps.why_unusable(tests):
        return None
    return Tests(tests["inputs"], tests["outputs"], tests.get("fn_name") or None)


def reward_of(report: Report) -> float:
    """Score a program."""
    return code_reward(
        compiled=Verdict.COMPILE_ERROR not in report.results,
        errors=len(report.errors),
        passed=report.passed,
        failed=report.failed,
    )
