"""Rows that are added to a file stay whole; what is read is text and fits its record, or is told by its row."""

import codecs
import gzip
import json

import pytest

from lightning_marlhf.files import (
    cut_unfinished_line,
    open_bytes,
    parse_row,
    read_jsonl,
    read_lines,
)
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


ODD_TEXTS = ["a\u2028b", "a\u0085b", "a\fb", "a\vb", "a\x1cb"]


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("mark", [b"", codecs.BOM_UTF8])
@pytest.mark.parametrize("name", ["rows.txt", "rows.txt.gz"])
def test_lines_end_at_newlines_alone(tmp_path, name, mark, end):
    content = mark + end.join(text.encode() for text in ODD_TEXTS)
    opened = gzip.open if name.endswith("gz") else open
    with opened(tmp_path / name, "wb") as file:
        file.write(content)
    lines = list(read_lines(tmp_path / name))
    assert [line.text for line in lines] == ODD_TEXTS
    with open_bytes(tmp_path / name) as file:
        file.seek(lines[3].offset)
        assert file.read(3) == b"a\vb"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("caf\u00e9".encode("latin-1"), "row 2: expected text in UTF-8, got the byte 0xe9"),
        (b"a\0b", "row 2: expected text in UTF-8, got a NUL byte"),
        (codecs.BOM_UTF8, "row 2: not JSON"),
        (b'{"prompt": "half \\ud83d"}', r"row 2: .*half of a surrogate pair \(.ud83d\)"),
        (b'{"a": {"b": 1, "b": 2}}', "row 2: not JSON: the key 'b' is there twice"),
        (b"[" * 100_000, "row 2: not JSON: maximum recursion"),
        (b"1" * 5_000, "row 2: not JSON: "),
        (b"7", "row 2: expected a JSON object, got int"),
    ],
)
def test_a_line_that_is_no_row_is_told_by_file_and_number(tmp_path, content, said):
    (tmp_path / "rows.jsonl").write_bytes(b'{"prompt": ""}\n' + content + b"\n")
    with pytest.raises(ValueError, match=f"rows.jsonl: {said}") as raised:
        list(read_jsonl(tmp_path / "rows.jsonl"))
    assert "\n" not in str(raised.value)


def test_utf_16_is_told_by_its_name(tmp_path):
    (tmp_path / "rows.jsonl").write_text('{"prompt": "a"}\n', encoding="utf-16")
    with pytest.raises(ValueError, match=r"rows.jsonl: row 1: .*got UTF-16; save"):
        list(read_jsonl(tmp_path / "rows.jsonl"))


def test_a_torn_gzip_file_is_one_line(tmp_path):
    whole = gzip.compress(b'{"prompt": "a"}\n' * 100)
    for content in (whole[:-12], b"plain", whole[:12] + b"\xff" * 20):
        (tmp_path / "rows.jsonl.gz").write_bytes(content)
        with pytest.raises(ValueError, match=r"rows.jsonl.gz: no whole gzip file"):
            list(read_jsonl(tmp_path / "rows.jsonl.gz"))


def test_whole_surrogate_pairs_are_text_and_halves_where_they_are_asked_for():
    assert parse_row('{"a": "\\ud83d\\ude00"}') == {"a": "\U0001f600"}
    assert parse_row('{"a": "\\ud83d"}', lone_surrogates=True) == {"a": "\ud83d"}


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
