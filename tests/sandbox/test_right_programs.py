"""Right programs pass, however they are written."""

import importlib.util

import pytest

from lightning_marlhf.sandbox.verdicts import Tests
from tests.sandbox.right_programs import CALLS, NUMPY, SCRIPTS

NUMPY_IS_HERE = importlib.util.find_spec("numpy") is not None


def name(right):
    return right.name


def passes(cage, right):
    tests = Tests([right.given], [right.expected], fn_name=right.function)
    report, ending = cage.run(right.program, tests)
    assert report.passed, ending


@pytest.mark.parametrize("right", SCRIPTS, ids=name)
def test_a_right_script_passes_that(cage, right):
    passes(cage, right)


@pytest.mark.parametrize("right", CALLS, ids=name)
def test_a_right_function_passes_that(cage, right):
    passes(cage, right)


@pytest.mark.skipif(not NUMPY_IS_HERE, reason="numpy is not installed")
@pytest.mark.parametrize("right", NUMPY, ids=name)
def test_a_right_program_passes_that(cage, right):
    passes(cage, right)
