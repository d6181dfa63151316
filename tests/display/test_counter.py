"""Progress of a command, where standard error is no terminal."""

from lightning_marlhf.display import counter
from lightning_marlhf.display.counter import Counter


def test_a_line_now_and_then_says_how_long_the_rest_takes(monkeypatch, capsys):
    clock = iter([100.0, 110.0, 140.0, 150.0])
    monkeypatch.setattr(counter.time, "monotonic", lambda: next(clock))
    with Counter("answers", 20) as count:
        count.add(2)  # after 10 s: too soon for a line
        count.add(6)  # after 40 s: 5 s an answer, 12 to go
        count.add(2)  # 10 s after the last line
    assert capsys.readouterr().err == "8 of 20 answers, 60 s left\n"


def test_what_is_short_counts_silently(monkeypatch, capsys):
    clock = iter([0.0, 1000.0])
    monkeypatch.setattr(counter.time, "monotonic", lambda: next(clock))
    with Counter("answers", 20, shown=False) as count:
        count.add(2)
    assert count.done == 2
    assert capsys.readouterr().err == ""
