"""How a program ended: from the report of its process and the observation of the worker."""

import os
import signal
from dataclasses import dataclass

# The first bytes of the report: what the child reached, in order. After COMPILED comes the result of a call.
CONFINED, COMPILED = b"R", b"S"
NOT_COMPILED, BROKEN = b"C", b"E"  # followed by why

TIME, OUTPUT = "time", "output"  # limits for which a worker ends a child


@dataclass(frozen=True)
class Observation:
    """The worker's observation of a child process.

    Attributes:
        exceeded: The limit for which it was killed; "" if it ended by itself.
        status: Exit status of `wait`.
        cpu_s: CPU seconds that it used.
        stdout: Standard output.
        stderr: Beginning and end of standard error.
        report: Content of the pipe for reports.
    """

    exceeded: str
    status: int
    cpu_s: float
    stdout: bytes = b""
    stderr: bytes = b""
    report: bytes = b""


@dataclass(frozen=True)
class Ending:
    """How a program ended on one test, before its output is compared.

    Attributes:
        end: "exit" (with status 0), "error", "compile", "time", "memory", "output"; "sandbox" is our own failure,
            "lost" a worker that died or was late.
        message: Message for people, perhaps written by the program.
        output: Standard output of a script, or what a function returned, as JSON.
    """

    end: str
    message: str = ""
    output: bytes = b""


def ending_of(seen: Observation, *, nonce: bytes | None, cpu_limit_s: float) -> Ending:
    """Work out how a program ended.

    Args:
        seen: The worker's observation.
        nonce: Precedes the result of a call; None: the program is a script.
        cpu_limit_s: A program that is killed after so much time has exceeded the limit, whoever killed it.
    """
    if not seen.report.startswith(CONFINED):
        reason = seen.report.removeprefix(BROKEN).decode(errors="replace")
        return Ending("sandbox", reason or f"status {seen.status} before it was confined")
    stage, rest = seen.report[1:2], seen.report[2:]
    if stage == NOT_COMPILED:
        return Ending("compile", rest.decode(errors="replace"))
    died = os.WTERMSIG(seen.status) if os.WIFSIGNALED(seen.status) else None
    last_words = _last_line(seen.stderr)
    if seen.exceeded:
        return Ending(seen.exceeded, last_words)
    if died == signal.SIGXCPU or (died == signal.SIGKILL and seen.cpu_s >= cpu_limit_s):
        return Ending(TIME, last_words)
    if stage != COMPILED:
        return Ending("compile", f"the compiler ended with status {seen.status}")
    if died is not None:
        return Ending("error", f"killed by {signal.Signals(died).name}")
    if seen.status:
        end = "memory" if "MemoryError" in last_words else "error"
        return Ending(end, last_words or f"exit status {os.WEXITSTATUS(seen.status)}")
    if nonce is None:
        return Ending("exit", output=seen.stdout)
    if not rest.startswith(nonce):
        return Ending("error", "the program ended before its function returned")
    return Ending("exit", output=rest.removeprefix(nonce))


def _last_line(content: bytes) -> str:
    lines = content.decode(errors="replace").rstrip().splitlines()
    return lines[-1] if lines else ""
