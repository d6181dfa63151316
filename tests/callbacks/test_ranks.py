import io
import sys
from types import SimpleNamespace

from lightning_marlhf.callbacks.ranks import NameRanks, prefix_of


def trainer(rank, ranks):
    return SimpleNamespace(global_rank=rank, world_size=ranks)


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
