"""Scores of programs by executing unit tests in the sandbox (arXiv 2410.02743, appendix B.5)."""

import math
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from lightning_marlhf.models.network_factory import NetworkFactory
from lightning_marlhf.ranges import PositiveInt, checked
from lightning_marlhf.rollout.program_tests import parse_tests, reward_of, run_completion
from lightning_marlhf.rollout.scoring import Scorer, Scores
from lightning_marlhf.sandbox.pool import Sandbox, available_cpus
from lightning_marlhf.sandbox.verdicts import Limits, Match, ProgramVerdict, Report, Tests
from lightning_marlhf.types import Pending, Rollout

_KINDS = {
    ProgramVerdict.PASSED: "passed",
    ProgramVerdict.WRONG_ANSWER: "wrong",
    ProgramVerdict.COMPILE_ERROR: "compile",
}
_OTHER_KIND = "runtime"  # raised, or exceeded a limit
KINDS = ("passed", "wrong", _OTHER_KIND, "compile")


@checked
class CodeTestScorer(Scorer):
    """Runs the program in each response on the tests of its problem.

    -1 if it does not compile, -0.6 if a test raises or exceeds a limit, else -0.3 + 1.3 * passed / tests. The
    programs run concurrently with the forward passes. A problem without tests has no valid score and is masked out of
    the losses.

    Prompts refer to their tests as the data set APPS does: ``{"input_output": JSON text}``.

    Args:
        name: Name under which the reward is logged and recorded; with ``_passed``, ``_wrong``, ``_runtime`` and
            ``_compile`` (which of them it was: 0 or 1) and ``_tests`` (the fraction of tests that it passed).
        workers: Programs that run at the same time; null: one for each CPU, shared among the processes of this machine.
        limits: Limits of each test.
        match: How outputs are compared: strict, or apps (as the official test program compares, which is lenient).
        max_tests: Number of first tests that decide the reward in training; null takes all. Evaluations take all.
        empty_is_error: Count a program that is empty or holds nothing but comments as one that raises (-0.6); false:
            as in the released code, it prints nothing (-0.3), a higher reward than a crash.
        allow_weak: Accept isolation level C, at which programs can read this user's files.
        unsafe: Accept level D, at which programs can do whatever this user can.
    """

    def __init__(
        self,
        name: str = "code",
        *,
        workers: PositiveInt | None = None,
        limits: Limits = Limits(),  # noqa: B008 - frozen
        match: Match = "strict",
        max_tests: PositiveInt | None = None,
        empty_is_error: bool = True,
        allow_weak: bool = False,
        unsafe: bool = False,
    ) -> None:
        self.name = name
        self.workers = workers
        self.limits = limits
        self.match = match
        self.max_tests = max_tests
        self.empty_is_error = empty_is_error
        self.allow_weak = allow_weak
        self.unsafe = unsafe
        self._sandbox: Sandbox | None = None

    def prepare(self, *, tokenizer: PreTrainedTokenizerBase, network_factory: NetworkFactory) -> None:
        """Start the sandbox, so that a missing sandbox fails before the first rollout."""
        self._open()

    def submit(self, rollout: Rollout, *, evaluating: bool) -> Pending[Scores]:
        """Start to run the programs: all tests of each in evaluations, no more than decide the reward in training."""
        sandbox = self._open()
        reports: list[Future[Report] | None] = []
        for text, reference in zip(rollout.texts, rollout.prompts.references, strict=True):
            tests = read_tests(reference)
            if tests is None:
                reports.append(None)
                continue
            if self.max_tests is not None and not evaluating:
                first = slice(self.max_tests)
                tests = Tests(tests.inputs[first], tests.outputs[first], tests.fn_name)
            options = {"empty_is_error": self.empty_is_error, "stop_at_error": not evaluating}
            reports.append(run_completion(text, tests, sandbox, **options))
        return _Running(self.name, reports, rollout.response_ids.device)

    def close(self) -> None:
        """End the sandbox; the next programs start another one."""
        if self._sandbox is not None:
            self._sandbox.close()
            self._sandbox = None

    def _open(self) -> Sandbox:
        """Start the sandbox when it is first needed."""
        if self._sandbox is None:
            shared = max(1, available_cpus() // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
            self._sandbox = Sandbox(
                workers=self.workers or shared,
                limits=self.limits,
                match=self.match,
                allow_weak=self.allow_weak,
                unsafe=self.unsafe,
            )
        return self._sandbox


def read_tests(reference: Any) -> Tests | None:
    """Read the tests of a problem; None without usable tests.

    Raises:
        ValueError: the reference is none of a problem with tests: the scorer does not fit the data.
    """
    if not isinstance(reference, Mapping) or "input_output" not in reference:
        raise ValueError(
            "CodeTestScorer needs prompts of programming problems, whose reference has input_output; expected "
            "data.class_path lightning_marlhf.data.APPS or lightning_marlhf.data.TinyAPPS"
        )
    return parse_tests(reference["input_output"] or "")


@dataclass(frozen=True)
class _Running:
    """Programs that may still run; None without tests."""

    name: str
    reports: Sequence[Future[Report] | None]
    device: torch.device

    def result(self) -> Scores:
        """Wait for them.

        Raises:
            SandboxError: the machine failed, not a program.
        """
        reports = [None if each is None else each.result() for each in self.reports]
        rewards = [0.0 if each is None else reward_of(each) for each in reports]
        return Scores(
            values=torch.tensor(rewards, device=self.device),
            valid=torch.tensor([each is not None for each in reports], device=self.device),
            details=tuple(map(self._details, reports, rewards)),
        )

    def _details(self, report: Report | None, reward: float) -> Mapping[str, float]:
        if report is None:
            return dict.fromkeys((self.name, f"{self.name}_tests", *self._kinds()), math.nan)
        kind = _KINDS.get(next(iter(report.errors), report.verdict), _OTHER_KIND)
        return {self.name: reward, f"{self.name}_tests": report.passed / len(report.results), **self._kinds(kind)}

    def _kinds(self, kind: str = "") -> dict[str, float]:
        return {f"{self.name}_{each}": float(each == kind) for each in KINDS}
