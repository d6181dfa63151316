"""Rows that are added to a file stay whole, whatever happens to the process that adds them."""

import json

import pytest

from lightning_marlhf.records import (
    BestOfN,
    BestOfNPoint,
    MeanInterval,
    PolicyScores,
    Record,
    RMScores,
    ScoreSummary,
    append_jsonl,
    cut_unfinished_line,
    read_jsonl,
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


@pytest.mark.parametrize("torn", ['{"num', '{"number": 2}', ""])
def test_a_row_that_was_not_finished_is_cut_off(tmp_path, torn):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"number": 1}\n' + torn)
    cut_unfinished_line(path)
    assert path.read_text() == '{"number": 1}\n'


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
