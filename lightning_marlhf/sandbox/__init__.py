"""Run untrusted programs against tests, and tell how they did. Linux; the standard library alone."""

from lightning_marlhf.sandbox.pool import Sandbox
from lightning_marlhf.sandbox.verdicts import Limits, Report, SandboxError, Tests, Verdict

__all__ = ["Limits", "Report", "Sandbox", "SandboxError", "Tests", "Verdict"]
