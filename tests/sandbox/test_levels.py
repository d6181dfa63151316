"""Levels of isolation: the best that works is taken, and named; less only where it is asked for."""

import dataclasses
import logging
import shutil
import subprocess

import pytest

from lightning_marlhf.sandbox import probe
from lightning_marlhf.sandbox.inside import landlock, seccomp
from lightning_marlhf.sandbox.levels import EXPLANATIONS, candidates
from lightning_marlhf.sandbox.pool import Sandbox
from lightning_marlhf.sandbox.verdicts import Limits, SandboxError, Tests

LEVELS = {level.name: level for level in candidates()}
needs_landlock = pytest.mark.skipif(landlock.version() == 0, reason="no Landlock on this machine")


@pytest.fixture
def only(monkeypatch):
    """Offer some levels and no others."""

    def offer(*levels):
        monkeypatch.setattr(probe, "candidates", lambda: iter(levels))

    return offer


def broken(name):
    return dataclasses.replace(LEVELS["D"], name=name, how=f"broken {name}", before=("/nowhere/bwrap",))


def pretending(name):
    return dataclasses.replace(LEVELS["D"], name=name, how=f"pretended {name}")


def test_every_level_is_explained(only):
    for name, explanation in EXPLANATIONS.items():
        if name in LEVELS and name in "CD":
            only(LEVELS[name])
            with Sandbox(workers=1, unsafe=True) as sandbox:
                assert sandbox.isolation == name
                assert explanation in sandbox.explain()
                assert f"level {name}" in sandbox.explain()


@pytest.mark.skipif(shutil.which("bwrap") is None, reason="no bubblewrap on this machine")
def test_without_bubblewrap_level_a_is_not_offered(monkeypatch):
    assert "A" in {level.name for level in candidates()}
    monkeypatch.setenv("PATH", "/nowhere")
    assert "A" not in {level.name for level in candidates()}


def bubblewrap_works():
    """Tell whether it makes namespaces here: then a lower level is a fault of the sandbox."""
    bare = ["bwrap", "--unshare-all", "--ro-bind", "/", "/", "true"]
    return bool(shutil.which("bwrap")) and subprocess.run(bare, capture_output=True).returncode == 0


@needs_landlock
@pytest.mark.skipif(not bubblewrap_works(), reason="no working bubblewrap on this machine")
def test_where_bubblewrap_works_it_is_level_a():
    with Sandbox(workers=1) as sandbox:
        assert sandbox.isolation == "A"


@needs_landlock
def test_without_bubblewrap_it_is_level_b(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with Sandbox(workers=1) as sandbox:
        assert sandbox.isolation == "B"


@needs_landlock
def test_a_level_that_does_not_start_is_passed_over_and_named(only, caplog):
    only(broken("A"), LEVELS["B"])
    with caplog.at_level(logging.INFO), Sandbox(workers=1) as sandbox:
        assert sandbox.isolation == "B"
        assert sandbox.explain() in caplog.text
    assert "not at level A: broken A: [Errno 2] No such file or directory" in caplog.text


def test_a_level_that_does_not_hold_what_it_promises_is_refused(only):
    only(pretending("B"))
    with pytest.raises(SandboxError) as error:
        Sandbox(workers=1)
    said = str(error.value)
    assert "B: pretended B lets programs " in said
    for attack in "read", "connect", "abstract", "process", "execute":
        assert attack in said.partition("lets programs")[2]


def test_level_c_is_not_taken_for_more_than_it_is(only):
    only(dataclasses.replace(LEVELS["C"], name="B"))
    with pytest.raises(SandboxError, match=r"lets programs (environment, )?read[)]"):
        Sandbox(workers=1)


def test_weak_isolation_is_refused_unless_it_is_allowed(only):
    only(broken("A"), LEVELS["C"], LEVELS["D"])
    with pytest.raises(SandboxError) as error:
        Sandbox(workers=1)
    for expected in "broken A", "Landlock and seccomp", "allow_weak: true", EXPLANATIONS["C"]:
        assert expected in str(error.value)
    with Sandbox(workers=1, allow_weak=True) as sandbox:
        assert sandbox.isolation == "C"
        assert sandbox.submit("print(1)", Tests([""], ["1"])).result().isolation == "C"


def test_no_isolation_is_refused_unless_it_is_allowed(only):
    only(broken("B"), broken("C"), LEVELS["D"])
    with pytest.raises(SandboxError) as error:
        Sandbox(workers=1, allow_weak=True)
    for expected in "broken B", "broken C", "unsafe: true", EXPLANATIONS["D"]:
        assert expected in str(error.value)
    with Sandbox(workers=1, unsafe=True) as sandbox:
        assert sandbox.isolation == "D"


def test_unsafe_takes_the_best_all_the_same(only):
    only(LEVELS["C"], LEVELS["D"])
    with Sandbox(workers=1, unsafe=True) as sandbox:
        assert sandbox.isolation == "C"


def test_a_system_without_any_level_is_named_as_such(only):
    only()
    with pytest.raises(SandboxError, match="none is known for this system"):
        Sandbox(workers=1)


def test_nothing_works_here_even_when_all_is_allowed(only):
    only(broken("D"))
    with pytest.raises(SandboxError, match="broken D"):
        Sandbox(workers=1, unsafe=True)


def test_a_processor_without_a_table_of_calls_has_no_filter():
    with pytest.raises(OSError, match="riscv64"):
        seccomp.Filter("riscv64")


@pytest.mark.parametrize("limits", [{"cpu_s": 0}, {"wall_factor": 0.5}, {"memory_mb": 1}, {"output_bytes": 0}])
def test_limits_that_nothing_can_meet_are_mistakes(limits):
    with pytest.raises(ValueError, match="expected at least"):
        Limits(**limits)
