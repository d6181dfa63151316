"""Sandboxes at the levels that isolate, and targets for those inside."""

from collections.abc import Iterator

import pytest

from lightning_marlhf.sandbox.levels import candidates
from lightning_marlhf.sandbox.verdicts import SandboxError
from tests.sandbox.arena import Arena, Cage, arena


@pytest.fixture(scope="session")
def targets() -> Iterator[Arena]:
    with arena() as made:
        yield made


@pytest.fixture(scope="session", params=["A", "B"])
def cage(request) -> Iterator[Cage]:
    """Two sandboxes at one level; the weaker one is not hidden by the better one."""
    with cage_at(request.param) as made:
        yield made


def cage_at(name: str) -> Cage:
    failures = []
    for level in candidates():
        if level.name == name:
            try:
                return Cage(level)
            except SandboxError as error:
                failures.append(str(error))
    return pytest.skip(f"no level {name} on this machine: {failures}")
