"""Stored rows become texts one for one; broken rows are named by number, unusable ones keep their place."""

import pytest

from lightning_marlhf.data.cache import describe_reader
from lightning_marlhf.data.reading import PreferenceReader, read_texts
from lightning_marlhf.data.source import HubData, load_source
from lightning_marlhf.tasks import tldr
from lightning_marlhf.tasks.rows import MalformedRow

READ_TLDR = PreferenceReader(tldr.preference, "reward_model")


@pytest.fixture
def read(write):
    def read(rows, reader=READ_TLDR):
        stored = load_source(write("train.jsonl", rows), hub=HubData("", {})).train
        return read_texts(stored, reader, where="train.jsonl", processes=None)

    return read


def test_every_stored_row_keeps_its_number(read, tldr_row):
    texts = read([tldr_row(0), tldr_row(1, text=" "), "", tldr_row(2, choice=1)])
    assert texts["row"][:] == [0, 1, 2, 3]
    assert texts["unusable"][:] == ["", "empty prompt", "blank line", ""]
    assert texts["responses"][3] == [" bad2"]
    assert texts["rejected"][3] == " good2"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("{", r"train.jsonl, row 2: not JSON: Expecting property name"),
        ("[1]", r"train.jsonl, row 2: expected a JSON object, got list"),
        ('{"info": {}}', r"train.jsonl, row 2: column info.post is missing"),
    ],
)
def test_a_broken_row_is_told_by_its_number(read, tldr_row, row, message):
    with pytest.raises(MalformedRow, match=message):
        read([tldr_row(0), row])


def test_several_processes_read_the_same(read, write, tldr_row):
    rows = [tldr_row(post) for post in range(8)]
    stored = load_source(write("train.jsonl", rows), hub=HubData("", {})).train
    several = read_texts(stored, READ_TLDR, where="train.jsonl", processes=2)
    assert several.to_dict() == read(rows).to_dict()


@pytest.mark.parametrize(
    ("stage", "unusable", "remark"),
    [("sft", "empty response", ""), ("reward_model", "", "a response is empty"), ("ppo", "", "")],
)
def test_an_empty_response_matters_to_the_stages_that_read_it(read, tldr_row, stage, unusable, remark):
    row = tldr_row(0)
    row["summaries"][0]["text"] = " "
    texts = read([row], PreferenceReader(tldr.preference, stage))
    assert (texts["unusable"][0], texts["remark"][0]) == (unusable, remark)


def test_a_reader_is_known_by_its_settings():
    assert describe_reader(READ_TLDR) == describe_reader(PreferenceReader(tldr.preference, "reward_model"))
    assert describe_reader(READ_TLDR) != describe_reader(PreferenceReader(tldr.preference, "sft"))
    assert "0x" not in describe_reader(READ_TLDR)  # no address of an object: those change with every run


def test_a_change_of_the_format_reads_the_rows_anew(read, tldr_row, monkeypatch, tmp_path):
    before = describe_reader(READ_TLDR)
    (tmp_path / "rows.py").write_text("# another format\n")
    monkeypatch.setattr("lightning_marlhf.tasks.rows.__file__", str(tmp_path / "rows.py"))
    assert describe_reader(READ_TLDR) != before
