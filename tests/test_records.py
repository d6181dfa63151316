"""Rows that are added to a file stay whole, whatever happens to the process that adds them."""

import pytest

from lightning_marlhf.records import Record, append_jsonl, cut_unfinished_line, read_jsonl


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
