"""The sandbox: a few warm workers, each with a thread of ours that hands it programs and judges what comes back."""

import logging
import os
import queue
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager

from lightning_marlhf.sandbox import probe
from lightning_marlhf.sandbox.comparison import printed_matches, returned_matches
from lightning_marlhf.sandbox.levels import EXPLANATIONS
from lightning_marlhf.sandbox.report import Ending
from lightning_marlhf.sandbox.verdicts import Limits, Match, ProgramVerdict, Report, SandboxError, Tests
from lightning_marlhf.sandbox.worker import Worker

_log = logging.getLogger(__name__)

_VERDICTS = {
    "error": ProgramVerdict.RUNTIME_ERROR,
    "lost": ProgramVerdict.RUNTIME_ERROR,
    "time": ProgramVerdict.TIME_LIMIT,
    "memory": ProgramVerdict.MEMORY_LIMIT,
    "output": ProgramVerdict.OUTPUT_LIMIT,
    "compile": ProgramVerdict.COMPILE_ERROR,
}


def available_cpus() -> int:
    """Count the CPUs that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class Sandbox(AbstractContextManager["Sandbox"]):
    """Runs programs at the highest level of isolation that this machine allows.

    Expected outputs stay in this process; programs get one input at a time, each in a process of its own.

    Args:
        workers: Number of programs run concurrently; None: one for each CPU that this process may use.
        limits: Limits of each test.
        match: Comparison of outputs: "strict" (in order, tolerance for expected decimals only) or "apps" (the
            official test program's ladder, which accepts much that is wrong; for comparable numbers).
        allow_weak: Accept level C, at which programs can read this user's files.
        unsafe: Accept level D, at which programs can do whatever this user can.

    Attributes:
        isolation: The level, "A" to "D".

    Raises:
        SandboxError: no level that is allowed works here.
    """

    def __init__(
        self,
        *,
        workers: int | None = None,
        limits: Limits = Limits(),  # noqa: B008 - frozen
        match: Match = "strict",
        allow_weak: bool = False,
        unsafe: bool = False,
    ) -> None:
        if workers is not None and workers < 1:
            raise ValueError(f"workers is {workers}: expected at least 1")
        self.limits = limits
        self.match = match
        found = probe.find(limits, allow_weak=allow_weak, unsafe=unsafe)
        self.isolation = found.level.name
        self._level = found.level
        _log.info("%s", self.explain())
        for reason in found.reasons:
            _log.info("not at level %s", reason)
        size = workers or available_cpus()
        self._idle: queue.SimpleQueue[Worker | None] = queue.SimpleQueue()
        self._idle.put(found.worker)
        for _ in range(size - 1):
            self._idle.put(None)  # starts when it is needed
        self._threads = ThreadPoolExecutor(size, thread_name_prefix="sandbox")
        self._size = size
        self._closing = False

    def explain(self) -> str:
        """Describe what the level is made of and what it does not stop."""
        return f"programs run at isolation level {self.isolation}: {EXPLANATIONS[self.isolation]}"

    def submit(self, program: str, tests: Tests, *, stop_at_error: bool = False) -> Future[Report]:
        """Run a program on its tests, each in a new process.

        Args:
            program: Untrusted.
            tests: The inputs, which it gets, and the outputs, which it does not.
            stop_at_error: Leave out the tests after the first that is not merely wrong; that decides a reward.

        Returns:
            The report to be; its `result` raises `SandboxError` if the machine failed, not the program.
        """
        return self._threads.submit(self._judge, program, tests, stop_at_error)

    def close(self) -> None:
        """Leave out what has not begun, wait for the tests that have, and end the workers."""
        self._closing = True
        self._threads.shutdown(wait=True, cancel_futures=True)
        for _ in range(self._size):
            worker = self._idle.get()
            if worker is not None:
                worker.close()
        self._size = 0

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    def _judge(self, program: str, tests: Tests, stop_at_error: bool) -> Report:
        worker = self._idle.get()
        try:
            worker = worker or Worker(self._level, self.limits)
            results, message = self._run(worker, program, tests, stop_at_error)
        except SandboxError:
            if worker is not None:
                worker.close()
            worker = None  # the next program gets a new one, and is not blamed
            raise
        finally:
            self._idle.put(worker)
        return Report(tuple(results), self.isolation, self.match, message)

    def _run(self, worker: Worker, program: str, tests: Tests, stop_at_error: bool) -> tuple[list[ProgramVerdict], str]:
        results: list[ProgramVerdict] = []
        message = ""
        for given, expected in zip(tests.texts, tests.outputs, strict=True):
            if results and self._closing:
                raise SandboxError("the sandbox was closed before all tests had run")
            ending = worker.run(program, given, function=tests.fn_name)
            verdict = self._verdict(ending, expected, calls=tests.fn_name is not None)
            message = message or ending.message
            if verdict is ProgramVerdict.COMPILE_ERROR:
                return [verdict] * len(tests.outputs), message
            results.append(verdict)
            if stop_at_error and ending.end != "exit":
                break
        return results, message

    def _verdict(self, ending: Ending, expected: object, *, calls: bool) -> ProgramVerdict:
        if ending.end != "exit":
            return _VERDICTS[ending.end]
        output = ending.output.decode(errors="replace")
        matches = returned_matches if calls else printed_matches
        right = matches(output, expected, match=self.match)
        return ProgramVerdict.PASSED if right else ProgramVerdict.WRONG_ANSWER
