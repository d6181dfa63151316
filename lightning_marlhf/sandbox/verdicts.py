"""Input and output of the sandbox: limits, tests, verdicts, reports."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar, Literal

Match = Literal["strict", "apps"]


class SandboxError(RuntimeError):
    """The machine failed, not the program: never a score."""


class ProgramVerdict(StrEnum):
    """The result of a program on one test."""

    PASSED = "passed"
    WRONG_ANSWER = "wrong_answer"
    RUNTIME_ERROR = "runtime_error"  # an exception, an exit status other than 0, a signal
    TIME_LIMIT = "time_limit"  # CPU or wall time
    MEMORY_LIMIT = "memory_limit"  # ended by a MemoryError
    OUTPUT_LIMIT = "output_limit"
    COMPILE_ERROR = "compile_error"

    @property
    def is_error(self) -> bool:
        """Whether it is an error, not an output, right or wrong."""
        return self not in (ProgramVerdict.PASSED, ProgramVerdict.WRONG_ANSWER)


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits of a program on one test.

    Args:
        cpu_s: CPU seconds, all threads together. The default is the time limit of APPS.
        wall_factor: Wall seconds for each CPU second; a busy machine does not make a right program late.
        memory_mb: MiB of address space beyond what the bare interpreter takes.
        output_bytes: Bytes of standard output, of standard error, and of a result.
    """

    cpu_s: float = 4.0
    wall_factor: float = 3.0
    memory_mb: int = 512
    output_bytes: int = 1_000_000

    def __post_init__(self) -> None:
        # Not by `ranges`: a confined worker can import nothing but the sandbox.
        bounds = {
            "cpu_s": (0.1, 10**6),
            "wall_factor": (1, 1000),
            "memory_mb": (16, 10**9),
            "output_bytes": (1, 10**12),
        }
        for name, (least, most) in bounds.items():
            if not least <= getattr(self, name) <= most:
                raise ValueError(f"{name}: expected at least {least:,} and at most {most:,}, got {getattr(self, name)}")

    @property
    def wall_s(self) -> float:
        """Wall seconds after which a test is a time-out."""
        return self.cpu_s * self.wall_factor


@dataclass(frozen=True)
class Tests:
    """The tests of a problem in the form of APPS.

    Args:
        inputs: Per test, the standard input, a text or a list of lines, or the list of arguments of a call.
        outputs: Per test, the standard output, a text or a list of lines, or the value of the call, bare or as
            the one item of a list.
        fn_name: The function to call, or the method of the program's class `Solution`; None: standard input.
    """

    inputs: Sequence[Any]
    outputs: Sequence[Any]
    fn_name: str | None = None

    __test__: ClassVar[bool] = False  # pytest would take the name for a class of tests

    def __post_init__(self) -> None:
        if not self.inputs or len(self.inputs) != len(self.outputs):
            raise ValueError(
                f"{len(self.inputs)} inputs and {len(self.outputs)} outputs: expected as many of both, and at least one"
            )

    @property
    def texts(self) -> list[Any]:
        """The inputs of a program: standard inputs as texts, or the arguments of calls."""
        if self.fn_name is not None:
            return list(self.inputs)
        return ["\n".join(map(str, each)) if isinstance(each, list) else each for each in self.inputs]


@dataclass(frozen=True)
class Report:
    """The results of a program on its tests.

    Args:
        results: One verdict for each test, in order; fewer if the run stopped at an error. A program that does not
            compile has a COMPILE_ERROR for every test.
        isolation: The level that it ran at, "A" to "D".
        match: The comparison that judged it.
        message: The last line on standard error of the first test that was an error; written by the program.
    """

    results: tuple[ProgramVerdict, ...]
    isolation: str
    match: Match
    message: str = ""

    @property
    def passed(self) -> int:
        """Number of tests that it passed."""
        return self.results.count(ProgramVerdict.PASSED)

    @property
    def failed(self) -> int:
        """Number of tests that it did not pass, for whatever reason."""
        return len(self.results) - self.passed

    @property
    def errors(self) -> tuple[ProgramVerdict, ...]:
        """The errors among the verdicts, in order."""
        return tuple(each for each in self.results if each.is_error)

    @property
    def verdict(self) -> ProgramVerdict:
        """The first thing that went wrong; PASSED if nothing did."""
        return next((each for each in self.results if each is not ProgramVerdict.PASSED), ProgramVerdict.PASSED)
