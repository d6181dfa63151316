"""Progress of a command on standard error."""

import io
import sys

from lightning_marlhf.display import counter
from lightning_marlhf.display.counter import Counter


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_line_now_and_then_says_how_long_the_rest_takes(monkeypatch, capsys):
    clock = iter([100.0, 110.0, 140.0, 150.0])
    monkeypatch.setattr(counter.time, "monotonic", lambda: next(clock))
    with Counter("responses", 20) as count:
        count.add(2)  # after 10 s: too soon for a line
        count.add(6)  # after 40 s: 5 s a response, 12 to go
        count.add(2)  # 10 s after the last line
    assert capsys.readouterr().err == "8 of 20 responses, 1 min 00 s left\n"


def test_what_is_short_counts_silently(monkeypatch):
    clock = iter([0.0, 1000.0])
    monkeypatch.setattr(counter.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(sys, "stderr", Terminal())
    with Counter("responses", 20, shown=False) as count:
        count.add(2)
    assert count.done == 2
    assert sys.stderr.getvalue() == ""


def test_a_terminal_has_a_bar(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    with Counter("responses", 20) as count:
        count.add(20)
    assert "responses" in sys.stderr.getvalue()
    assert "20/20" in sys.stderr.getvalue()
