"""The sandbox: a few warm workers, each with a thread of ours that hands it programs and judges them."""

from concurrent.futures import Future
from contextlib import AbstractContextManager

from lightning_marlhf.sandbox.verdicts import Limits, Match, Report, Tests


class Sandbox(AbstractContextManager["Sandbox"]):
    """Runs programs at the highest level of isolation that this machine allows."""

    isolation: str

    def __init__(
        self,
        *,
        workers: int | None = None,
        limits: Limits = Limits(),
        match: Match = "strict",
        allow_weak: bool = False,
        unsafe: bool = False,
    ) -> None:
        raise NotImplementedError

    def explain(self) -> str:
        """Say in one sentence what the level does not stop."""
        raise NotImplementedError

    def submit(self, program: str, tests: Tests, *, stop_at_error: bool = False) -> Future[Report]:
        """Run a program on its tests."""
        raise NotImplementedError

    def close(self) -> None:
        """End the workers."""

    def __exit__(self, *_: object) -> None:
        self.close()
