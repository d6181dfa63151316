"""The sandbox as its users see it: workers that are lost and replaced, order, parallel runs, and what it leaves."""

import contextlib
import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lightning_marlhf.sandbox.pool import Sandbox
from lightning_marlhf.sandbox.verdicts import Limits, ProgramVerdict, SandboxError, Tests
from tests.sandbox.arena import descendants

ROOT = Path(__file__).parents[2]
ADD = "print(sum(map(int, input().split())))"
SLEEP = "import time; time.sleep(60)"
PASSED, WRONG, ERROR = (ProgramVerdict.PASSED, ProgramVerdict.WRONG_ANSWER, ProgramVerdict.RUNTIME_ERROR)
LIMITS = Limits(cpu_s=4, wall_factor=5)
SHORT = Limits(cpu_s=0.5, wall_factor=4)
_GRACE_PERIOD_S = 60
_TRAINER = """
import select, signal, sys
from lightning_marlhf.sandbox.pool import Sandbox
from lightning_marlhf.sandbox.verdicts import Limits, Tests
signal.signal(signal.SIGINT, signal.default_int_handler)  # where these tests run in the background it is ignored
with Sandbox(workers=2, limits=Limits(cpu_s=60)) as sandbox:
    tests = Tests([""], [""])
    sandbox.submit("", tests).result()
    for _ in range(int(sys.argv[1])):
        sandbox.submit("while True: pass", tests)
    print("ready", flush=True)
    while not select.select([sys.stdin], [], [], 0.1)[0]:  # a signal just before a read would wait for its end
        pass
"""


def alive():
    """Leave out the dead that init would have buried: the attack tests make this process their next of kin."""

    def state(pid):
        with contextlib.suppress(OSError):
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        return "Z"

    return {pid for pid in descendants() if state(pid) != "Z"}


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox(workers=1, limits=LIMITS) as made:
        yield made


def sums(*numbers):
    return Tests([f"{each} 1" for each in numbers], [str(each + 1) for each in numbers])


def kill_workers(before=frozenset()):
    for pid in alive() - before:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def eventually(true):
    deadline = time.monotonic() + _GRACE_PERIOD_S
    while not true() and time.monotonic() < deadline:
        time.sleep(0.02)
    return true()


def test_verdicts_are_in_the_order_of_the_tests(sandbox):
    tests = Tests(["1 1", "1 1", "x", "2 2"], ["2", "3", "0", "4"])
    report = sandbox.submit(ADD, tests).result()
    assert report.results == (PASSED, WRONG, ERROR, PASSED)
    assert (report.passed, report.failed, report.verdict) == (2, 2, WRONG)
    assert report.message.startswith("ValueError: invalid literal for int()")


def test_reports_are_in_the_order_of_the_programs(sandbox):
    futures = [sandbox.submit(f"print({each})", Tests([""], ["3"])) for each in range(6)]
    assert [future.result().passed for future in futures] == [0, 0, 0, 1, 0, 0]


def test_it_can_stop_at_the_first_error_but_not_at_a_wrong_answer(sandbox):
    tests = Tests(["1 1", "1 1", "x", "2 2"], ["3", "2", "0", "4"])
    assert sandbox.submit(ADD, tests, stop_at_error=True).result().results == (WRONG, PASSED, ERROR)


def test_every_test_of_a_program_that_does_not_compile_is_a_compile_error(sandbox):
    report = sandbox.submit("print(", sums(1, 2, 3), stop_at_error=True).result()
    assert report.results == (ProgramVerdict.COMPILE_ERROR,) * 3
    assert report.message.startswith("SyntaxError: '(' was never closed")


def test_input_may_be_a_list_of_lines(sandbox):
    tests = Tests([["1 2", "3 4"]], [["3", "7"]])
    assert sandbox.submit(f"{ADD}\n{ADD}", tests).result().passed


def test_each_test_has_a_process_of_its_own(sandbox):
    program = "import math\nprint(hasattr(math, 'seen'))\nmath.seen = True"
    assert sandbox.submit(program, Tests(["", ""], ["False", "False"])).result().passed == 2


def test_the_official_comparison_can_be_chosen():
    with Sandbox(workers=1, limits=LIMITS, match="apps") as official:
        report = official.submit("print('3 2 1')", Tests([""], ["1 2 3"])).result()
    assert (report.results, report.match) == ((PASSED,), "apps")


def test_a_worker_that_was_killed_is_replaced():
    before = alive()
    with Sandbox(workers=1, limits=LIMITS) as made:
        kill_workers(before)
        assert made.submit(ADD, sums(1, 2)).result().results == (ERROR, PASSED)
        assert made.submit(ADD, sums(1)).result().passed


def test_a_worker_that_is_killed_during_a_program_is_replaced():
    before = alive()
    with Sandbox(workers=1, limits=LIMITS) as made:
        idle = alive()
        lost = made.submit(SLEEP, sums(1))
        assert eventually(lambda: alive() - idle)
        kill_workers(before)
        assert eventually(lambda: not (idle - before) & alive())
        with contextlib.suppress(SandboxError):  # where the kill came before the worker had read the program
            assert lost.result().results == (ERROR,)
        assert made.submit(ADD, sums(1)).result().passed


def test_a_machine_on_which_no_worker_starts_any_more_is_no_score():
    before = alive()
    with Sandbox(workers=1, limits=LIMITS) as made:
        worker = made._idle.get()
        good = made._level
        worker.level = made._level = dataclasses.replace(good, before=("/nowhere/bwrap",))
        made._idle.put(worker)
        kill_workers(before)
        for _ in range(2):
            with pytest.raises(SandboxError, match="No such file or directory"):
                made.submit(ADD, sums(1)).result()
        made._level = good
        assert made.submit(ADD, sums(1)).result().passed
    assert alive() == before


def test_workers_run_at_the_same_time():
    with Sandbox(workers=2, limits=LIMITS) as made:
        for future in [made.submit(ADD, sums(1, 2, 3)) for _ in range(4)]:
            future.result()
        slow = made.submit("import time; time.sleep(3)", Tests([""], [""]))
        assert made.submit(ADD, sums(1)).result().passed
        assert not slow.done()


def test_as_many_workers_run_as_there_are_processors():
    with Sandbox(limits=LIMITS) as made:
        assert made._size == len(os.sched_getaffinity(0))


def test_no_worker_is_a_mistake():
    with pytest.raises(ValueError, match="workers is 0"):
        Sandbox(workers=0)


def test_nothing_is_left_when_it_is_closed():
    before, descriptors = alive(), len(os.listdir("/proc/self/fd"))
    with Sandbox(workers=2, limits=SHORT) as made:
        running = [made.submit(SLEEP, sums(1)) for _ in range(2)]
        waiting = [made.submit(ADD, sums(1)) for _ in range(3)]
        assert eventually(lambda: all(future.running() for future in running))
    assert alive() == before
    assert len(os.listdir("/proc/self/fd")) == descriptors
    assert [future.result().results for future in running] == [(ProgramVerdict.TIME_LIMIT,)] * 2
    assert all(future.cancelled() for future in waiting)


@pytest.mark.parametrize("path", [os.environ["PATH"], "/nowhere"], ids=["best", "B"])
@pytest.mark.parametrize(
    ("end", "busy"), [(signal.SIGKILL, 0), (signal.SIGKILL, 2), (signal.SIGTERM, 2), (signal.SIGINT, 0)]
)
def test_no_worker_outlives_the_trainer(busy, path, end):
    with subprocess.Popen(
        [sys.executable, "-c", _TRAINER, str(busy)],
        cwd=ROOT,
        env={**os.environ, "PATH": path},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as trainer:
        assert trainer.stdout.readline() == b"ready\n"
        assert eventually(lambda: len(descendants(trainer.pid)) > busy)
        workers = descendants(trainer.pid)
        trainer.send_signal(end)
        trainer.wait(timeout=60)
        assert eventually(lambda: not any(map(lives, workers)))


def lives(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize(("inputs", "outputs"), [([], []), (["1"], []), (["1", "2"], ["1"])], ids=str)
def test_tests_need_as_many_outputs_as_inputs(inputs, outputs):
    with pytest.raises(ValueError, match="expected as many of both"):
        Tests(inputs, outputs)
