import io
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

from lightning_marlhf.callbacks import ranks
from lightning_marlhf.callbacks.ranks import NameRanks, RollCall, prefix_of


def trainer(rank, size):
    return SimpleNamespace(global_rank=rank, world_size=size)


def test_every_line_of_a_rank_says_which_it_is(monkeypatch):
    caught = io.StringIO()
    monkeypatch.setattr(sys, "stderr", caught)
    NameRanks().setup(trainer(1, 2), None, "fit")
    NameRanks().setup(trainer(1, 2), None, "test")  # once is enough
    sys.stderr.write("one ")
    sys.stderr.write("line\nanother\n\n")
    print("a third", file=sys.stderr, flush=True)
    assert caught.getvalue() == "[rank 1] one line\n[rank 1] another\n[rank 1] \n[rank 1] a third\n"


def test_a_process_that_is_alone_has_no_rank(monkeypatch):
    caught = io.StringIO()
    monkeypatch.setattr(sys, "stderr", caught)
    NameRanks().setup(trainer(0, 1), None, "fit")
    assert sys.stderr is caught
    assert prefix_of(trainer(0, 1)) == ""


CLOSED = RuntimeError("[../third_party/gloo/gloo/transport/tcp/pair.cc:534] Connection closed by peer [10.0.0.2]:8")


@pytest.fixture
def called(monkeypatch):
    """The roll of a run whose first process is this one."""
    monkeypatch.setattr(ranks, "_GRACE_PERIOD_S", 0.0)
    roll = RollCall()
    roll._processes = [("here", os.getpid()), ("here", os.getpid())]
    return roll


@pytest.fixture
def dead():
    """A process that has ended, and that nobody has waited for."""
    process = subprocess.Popen([sys.executable, "-c", "pass"])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    yield process.pid
    process.wait()


def test_a_rank_of_this_host_that_is_gone_is_named(called, dead):
    called._processes += [("here", dead), ("there", 7)]
    said = str(called.explain(CLOSED))
    assert f"rank 2 (here, process {dead}) is gone" in said
    assert "there" not in said


def test_where_all_of_this_host_are_there_those_of_other_hosts_are_named(called):
    called._processes += [("there", 7)]
    assert "rank 2 (there, process 7) is gone, or out of reach of here" in str(called.explain(CLOSED))


def test_other_errors_are_not_explained(called, dead):
    assert called.explain(CLOSED) is None  # all are there
    called._processes += [("here", dead)]
    assert called.explain(RuntimeError("shapes differ")) is None
    assert RollCall().explain(CLOSED) is None  # one process
