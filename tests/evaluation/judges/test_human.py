"""Verdicts of people, from a file."""

import pytest

from lightning_marlhf.evaluation.judges import JudgeError
from lightning_marlhf.evaluation.judges.human import HumanJudge
from lightning_marlhf.evaluation.pairs import Pair
from lightning_marlhf.records import Verdict, write_jsonl

PAIRS = [Pair("1-0", "p", "a", "b"), Pair("2-0", "q", "a", "b")]


def said(pair, winner, who="ada", order="ab", **changes):
    row = {"pair_id": pair.pair_id, "fingerprint": pair.fingerprint, "raw": "a note", **changes}
    return Verdict(order=order, winner=winner, judge=f"human:{who}", **row)


def test_everybodys_last_word_on_these_pairs_is_read_and_the_rest_counted(tmp_path):
    rows = [
        said(PAIRS[0], "b"),
        said(PAIRS[0], "a"),
        said(PAIRS[0], "tie", who="bob", order="ba"),
        said(PAIRS[1], "a", fingerprint="of other responses"),
        said(Pair("3-0", "r", "a", "b"), "a"),
    ]
    write_jsonl(tmp_path / "h.jsonl", rows)
    judge = HumanJudge(tmp_path / "h.jsonl")
    assert list(judge.judge(PAIRS)) == [rows[1], rows[2]]
    assert judge.left_out == 2


def test_a_file_on_other_pairs_is_refused(tmp_path):
    write_jsonl(tmp_path / "h.jsonl", [said(PAIRS[1], "a")])
    with pytest.raises(JudgeError, match="none of its 1 verdicts is on these pairs"):
        list(HumanJudge(tmp_path / "h.jsonl").judge(PAIRS[:1]))


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ('{"prompt": "p"}\n', "expected verdicts"),
        (
            '{"pair_id": "1", "fingerprint": "f", "order": "", "winner": "A", "judge": "j"}\n',
            "winner is 'A': expected one of a, b, tie, invalid",
        ),
    ],
)
def test_a_file_of_something_else_is_one_line(tmp_path, content, line):
    (tmp_path / "h.jsonl").write_text(content)
    with pytest.raises(JudgeError, match=line):
        list(HumanJudge(tmp_path / "h.jsonl").judge(PAIRS))
