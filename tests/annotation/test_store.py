"""The file of verdicts is whole at every moment, whatever happens."""

import errno
import os
from contextlib import closing

import pytest

from lightning_marlhf import records
from lightning_marlhf.annotation import store
from lightning_marlhf.annotation.store import AnnotationFile, summarize
from lightning_marlhf.evaluation.pairs import Pair
from lightning_marlhf.records import Verdict, read_verdicts


def verdict(pair_id, judge="human:ada", winner="a"):
    return Verdict(pair_id=pair_id, fingerprint="f", order="ab", winner=winner, judge=judge)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "folder" / "v.jsonl"


@pytest.fixture
def verdicts(path):
    file = AnnotationFile(path)
    yield file
    file.close()


def test_a_verdict_is_on_disk_when_add_returns(verdicts, path):
    verdicts.add(verdict("1"))
    assert read_verdicts(path) == [verdict("1")]


def test_a_withdrawn_verdict_is_in_the_file_no_more_and_others_stay_in_order(verdicts, path):
    for row in (verdict("1"), verdict("2"), verdict("2", "human:bob"), verdict("3")):
        verdicts.add(row)
    assert verdicts.withdraw("human:ada", "2") == verdict("2")
    verdicts.add(verdict("2", winner="b"))
    assert read_verdicts(path) == [verdict("1"), verdict("2", "human:bob"), verdict("3"), verdict("2", winner="b")]


def test_a_kill_while_a_verdict_is_withdrawn_leaves_the_old_file(verdicts, path, monkeypatch):
    verdicts.add(verdict("1"))

    def die(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", die)  # the new file is written, not yet in its place
    with pytest.raises(KeyboardInterrupt):
        verdicts.withdraw("human:ada", "1")
    assert read_verdicts(path) == list(verdicts) == [verdict("1")]


def test_a_torn_last_line_is_cut(path):
    records.append_jsonl(path, [verdict("1"), verdict("2")])
    os.truncate(path, path.stat().st_size - 7)
    with closing(AnnotationFile(path)) as verdicts:
        assert list(verdicts) == [verdict("1")]
        verdicts.add(verdict("3"))
    assert read_verdicts(path) == [verdict("1"), verdict("3")]


def test_half_a_line_on_a_full_disk_does_not_spoil_the_next(verdicts, path, monkeypatch):
    verdicts.add(verdict("1"))

    def fill(where, rows):
        with where.open("a") as file:
            file.write(records._to_line(rows[0])[:9])
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr(store, "append_jsonl", fill)
        with pytest.raises(OSError, match="No space"):
            verdicts.add(verdict("2"))
    assert verdicts.find("human:ada", "2") is None
    verdicts.add(verdict("3"))
    assert read_verdicts(path) == [verdict("1"), verdict("3")]


def test_a_file_has_one_writer(verdicts, path):
    verdicts.add(verdict("1"))
    verdicts.withdraw("human:ada", "1")  # the file is another now, its lock the same
    with pytest.raises(ValueError, match="another `annotate` writes"):
        AnnotationFile(path)


@pytest.mark.parametrize("line", ['{"prompt": "p", "response": "r"}', '{"judge": 3}', "[1]", "no JSON"])
def test_a_file_of_something_else_is_refused(path, line):
    path.parent.mkdir()
    path.write_text(line + "\n")
    with pytest.raises(ValueError, match=r"v\.jsonl"):
        AnnotationFile(path)
    assert path.read_text() == line + "\n"


def test_verdicts_of_a_model_are_not_those_of_people(path):
    records.write_jsonl(path, [verdict("1", judge="gold")])
    with pytest.raises(ValueError, match="verdicts of annotators"):
        AnnotationFile(path)


def test_verdicts_on_other_texts_are_refused(verdicts):
    pair = Pair("1", "p", "x", "y")
    verdicts.add(Verdict("1", pair.fingerprint, "ab", "a", "human:ada"))
    verdicts.check([pair, Pair("2", "q", "x", "y")])
    with pytest.raises(ValueError, match="other responses"):
        verdicts.check([Pair("1", "p", "x", "another")])
    with pytest.raises(ValueError, match="other responses"):
        verdicts.check([])


def test_verdicts_are_counted_and_agreement_is_over_pairs_that_both_judged(make_session, tmp_path):
    session = make_session(4)
    for name, winners in {"ada": ["tie", "tie", "tie"], "bob": ["tie", "left"], "eve": []}.items():
        person = session.annotator(name)
        for winner in winners:
            session.submit_verdict(person, session.view(person)["pair"]["id"], winner=winner)
    assert list(summarize(session.selection.pairs, session.verdicts)) == [
        f"{tmp_path}/v.jsonl: 5 verdicts",
        "  ada: 3",
        "  bob: 2",
        "  ada and bob agree on 1 of 2 pairs (50%)",
        "left: 1 of 4 pairs without a verdict",
    ]


def test_agreement_is_on_responses_not_on_sides(make_session):
    session = make_session(30)
    for name in ("ada", "bob"):
        person = session.annotator(name)
        for _ in range(30):
            pair = session.view(person)["pair"]
            session.submit_verdict(person, pair["id"], winner="left" if "from a" in pair["left"] else "right")
    assert "  ada and bob agree on 30 of 30 pairs (100%)" in summarize(session.selection.pairs, session.verdicts)
