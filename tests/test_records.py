"""Records come back from their files with the records inside them, and what fits none is told by file, row and key."""

import json

import pytest

from lightning_marlhf.files import read_jsonl
from lightning_marlhf.records import (
    BestOfN,
    BestOfNPoint,
    MeanInterval,
    PolicyScores,
    Record,
    RMScores,
    ScoreSummary,
    Verdict,
    append_jsonl,
    read_verdicts,
)


class Row(Record):
    def __init__(self, number):
        self.number = number

    def to_dict(self):
        return {"number": self.number}


def test_rows_are_added_behind_the_ones_that_are_there(tmp_path):
    path = tmp_path / "new" / "rows.jsonl"
    append_jsonl(path, [Row(1), Row(2)])
    append_jsonl(path, [Row(3)])
    assert list(read_jsonl(path)) == [{"number": 1}, {"number": 2}, {"number": 3}]


def test_records_inside_records_come_back_from_json():
    scores = {"rm": MeanInterval(1.0, 0.5, 1.5), "gold": MeanInterval(2.0, None, None)}
    point = BestOfNPoint(temperature=None, n=2, kl_bound=0.2, scores=scores)
    best = BestOfN("m", "rm", {"rm": "r"}, num_prompts=3, num_samples=2, points=[point])
    assert BestOfN.from_dict(json.loads(json.dumps(best.to_dict()))) == best
    summary = ScoreSummary(scores["rm"], 0.1, {"0.5": 1.0}, scores["rm"], num_paired=3)
    alone = ScoreSummary(scores["rm"], 0.1, {"0.5": 1.0}, None, num_paired=0)
    policy = PolicyScores("ppo", "runs/ppo", 3, 3, {"rm": summary, "gold": alone})
    compared = RMScores({"rm": "r"}, {"seed": 1234}, [policy])
    assert RMScores.from_dict(json.loads(json.dumps(compared.to_dict()))) == compared


VERDICT = {"pair_id": "p", "fingerprint": "f", "order": "ab", "winner": "a", "judge": "gold"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"winner": None}, "`winner`: expected str, got type NoneType"),
        ({"usage": {"tokens": "many"}}, "`usage`"),
        ({"seconds": "0.5"}, "`seconds`"),
        ({"seconds": True}, "`seconds`"),
        ({"seconds": 10**400}, "`seconds`: expected .*float.*, got more than 64 bits"),
        ({"usage": {"tokens": -(10**400)}}, "`usage`"),
    ],
)
def test_a_record_of_other_types_is_told_by_file_row_and_key(tmp_path, change, said):
    path = tmp_path / "verdicts.jsonl"
    path.write_text(f"{json.dumps(VERDICT)}\n{json.dumps(VERDICT | change)}\n")
    with pytest.raises(ValueError, match=f"verdicts.jsonl: row 2: Verdict: {said}"):
        read_verdicts(path)


def test_a_record_may_lack_what_has_a_default_and_hold_what_is_unknown(tmp_path):
    path = tmp_path / "verdicts.jsonl"
    path.write_text(json.dumps(VERDICT | {"p_a": 1, "new": [], "seconds": 2}))
    assert read_verdicts(path) == [Verdict(**VERDICT, seconds=2)]
    path.write_text("{}")
    with pytest.raises(ValueError, match=r"row 1: Verdict: no 'pair_id', 'fingerprint', 'order'"):
        read_verdicts(path)
