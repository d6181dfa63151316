"""The trainer's side of a worker: starts it, asks it, and replaces it when it dies or is late."""

import json
import os
import secrets
import signal
import subprocess
import tempfile
import time
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from lightning_marlhf.sandbox import frames
from lightning_marlhf.sandbox.levels import ENVIRONMENT, Level
from lightning_marlhf.sandbox.report import Ending, Observation, ending_of
from lightning_marlhf.sandbox.verdicts import Limits, SandboxError

_START_S = 60.0
_END_S = 5.0
_GRACE_S = 20.0  # beyond a test's wall limit, for a machine that is busy
_STREAMS = 3
_LONGEST_STDERR = 2000
_GOOD_PROGRAM = "print(int(input()) + 1)"


class Worker:
    """A process that runs programs, one at a time.

    Args:
        level: Level of isolation.
        limits: Limits of each test.

    Raises:
        SandboxError: it does not start, or a harmless program does not run in it.
    """

    def __init__(self, level: Level, limits: Limits) -> None:
        self.level = level
        self.limits = limits
        self._start()

    def run(self, program: str, given: Any, *, function: str | None) -> Ending:
        """Run a program on one input.

        A worker that is lost over it is replaced.

        Args:
            program: Untrusted.
            given: Standard input, or the arguments of the call.
            function: Function to call; None: the program is a script.

        Raises:
            SandboxError: a new worker does not work either, or the sandbox fails by itself.
        """
        try:
            ending = self._ask(program, given, function)
        except (OSError, EOFError, ValueError, frames.Late) as error:
            late = isinstance(error, frames.Late)
            self.close()
            self._start()
            reason = "did not answer in time" if late else "died"
            return Ending("lost", f"the process that ran it {reason}")
        if ending.end == "sandbox":
            self.close()
            self._start()
            raise SandboxError(f"isolation level {self.level.name}: {ending.message}")
        return ending

    def close(self) -> None:
        """End the process and all that it started."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()
        try:  # it ends when the pipe does, and takes its child along: nobody is left without a parent
            self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._stderr.close()

    def _ask(self, program: str, given: Any, function: str | None) -> Ending:
        nonce = None if function is None else secrets.token_hex(16)
        request = {"program": program, "input": given, "function": function, "nonce": nonce}
        self._send(json.dumps(request).encode())
        patience = self.limits.wall_s + _GRACE_S
        seen = _observed(*self._receive(_STREAMS * (self.limits.output_bytes + 2**17), patience))
        expected_nonce = None if nonce is None else nonce.encode()
        return ending_of(seen, nonce=expected_nonce, cpu_limit_s=self.limits.cpu_s)

    def _send(self, request: bytes) -> None:
        assert self._process.stdin is not None
        deadline = time.monotonic() + _GRACE_S
        frames.send(self._process.stdin.fileno(), None, request, deadline=deadline)

    def _receive(self, longest: int, patience_s: float) -> tuple[Any, bytes]:
        assert self._process.stdout is not None
        return frames.receive(
            self._process.stdout.fileno(),
            longest_header=frames.LONGEST_HEADER,
            longest_payload=longest,
            deadline=time.monotonic() + patience_s,
        )

    def _start(self) -> None:
        """Start the process and let a harmless program run in it."""
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        try:
            self._process = subprocess.Popen(
                self.level.command(asdict(self.limits)),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._stderr,
                bufsize=0,
                cwd="/",
                env=ENVIRONMENT,
                start_new_session=True,
            )
        except OSError as error:
            self._stderr.close()
            raise SandboxError(f"{self.level.how}: {error}") from error
        os.set_blocking(self._process.stdin.fileno(), False)  # type: ignore[union-attr]
        try:
            self._receive(0, _START_S)
            ending = self._ask(_GOOD_PROGRAM, "41", None)
        except (OSError, EOFError, ValueError, frames.Late) as error:
            raise self._failed(str(error) or type(error).__name__) from error
        if ending.output != b"42\n":
            raise self._failed(f"a good program ended as {ending.end} ({ending.message})")

    def _failed(self, reason: str) -> SandboxError:
        self._stderr.seek(0)
        said = self._stderr.read(_LONGEST_STDERR).decode(errors="replace").strip().splitlines()
        self.close()
        return SandboxError(f"{self.level.how}: {said[-1] if said else reason}")


def _observed(header: dict[str, Any], payload: bytes) -> Observation:
    stdout, stderr, _ = header.pop("sizes")
    return Observation(
        **header, stdout=payload[:stdout], stderr=payload[stdout : stdout + stderr], report=payload[stdout + stderr :]
    )
