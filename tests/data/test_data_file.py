"""A data file is opened by its own name, split at newlines alone, and read anew whenever its content has changed."""

import codecs
import gzip
import json
import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset

from lightning_marlhf.data.source import LINE, HubData, load_file, load_source
from lightning_marlhf.hub.sources import SourceError

FOLDERS = ["plain", "[v2] data", "a*b?", ".hidden/data", "__data", "lr=2,s=1", "100%", "tilde~", "é {x}"]


def rows_of(source):
    return load_source(str(source), hub=HubData("", {})).train[LINE][:]


def lines(word, count=2):
    return [json.dumps({"prompt": f"{word} {number}"}) for number in range(count)]


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "\n".join(content).encode()
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
    return path


@pytest.mark.parametrize("name", FOLDERS)
def test_a_path_is_no_pattern(tmp_path, name):
    write(tmp_path / "v data" / "train.jsonl", lines("neighbour"))
    file = write(tmp_path / name / "train.jsonl", lines("own"))
    assert rows_of(file.parent) == lines("own")
    assert rows_of(file) == lines("own")


@pytest.mark.parametrize("name", ["[v2]", "x*"])
def test_a_saved_folder_and_a_parquet_file_are_no_patterns_either(tmp_path, name):
    Dataset.from_dict({"n": [1, 2]}).save_to_disk(str(tmp_path / name))
    (tmp_path / "files").mkdir()
    Dataset.from_dict({"n": [3]}).to_parquet(str(tmp_path / "files" / "rows.parquet"))
    (tmp_path / "files" / "rows.parquet").rename(tmp_path / "files" / f"{name}.parquet")
    for path, expected in {name: [1, 2], f"files/{name}.parquet": [3]}.items():
        assert load_source(str(tmp_path / path), hub=HubData("", {})).train["n"][:] == expected


def test_what_a_system_leaves_beside_a_file_is_no_data(tmp_path):
    write(tmp_path / "rows.jsonl", lines("own"))
    (tmp_path / "._rows.jsonl").write_bytes(b"\0\5\26\7")
    (tmp_path / "old.jsonl").mkdir()
    assert rows_of(tmp_path) == lines("own")


@pytest.mark.parametrize("name", ["train.jsonl", "train.jsonl.gz"])
def test_an_edit_is_seen_that_keeps_size_and_time(tmp_path, name):
    for word in ("first", "other"):
        path = write(tmp_path / name, lines(word))
        os.utime(path, (1_700_000_000, 1_700_000_000))
        assert rows_of(path) == rows_of(tmp_path) == lines(word)


def test_the_same_content_is_converted_once(tmp_path, monkeypatch):
    first = write(tmp_path / "a.jsonl", lines("same"))
    copy = write(tmp_path / "b.jsonl", lines("same"))
    load_file(first)
    monkeypatch.setattr("lightning_marlhf.data.source.read_lines", None)
    assert load_file(copy)[LINE][:] == lines("same")


def test_lines_end_at_newlines_alone_and_a_byte_order_mark_is_no_text(tmp_path):
    odd = ["a\u2028b", "a\u0085b", "a\fb", "a\vb"]
    (tmp_path / "rows.jsonl").write_bytes(codecs.BOM_UTF8 + "\r\n".join(odd).encode())
    assert rows_of(tmp_path) == odd


def test_long_lines_and_many_lines_are_kept_whole(tmp_path, monkeypatch):
    monkeypatch.setattr("lightning_marlhf.data.source._BATCH_CHARACTERS", 10)
    content = ["x" * 9, "y" * 25, "", "z"]
    assert rows_of(write(tmp_path / "rows.jsonl", content)) == content


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("rows.jsonl", '{"a": "é"}\n'.encode("latin-1"), "row 1: expected text in UTF-8"),
        ("rows.jsonl", '{"a": "é"}\n'.encode("utf-16"), "row 1: expected text in UTF-8, got UTF-16"),
        ("rows.jsonl", b"", "is empty"),
        ("rows.jsonl.gz", gzip.compress(b"", mtime=0), "is empty"),
        ("rows.jsonl.gz", b"{}", "truncated gzip file"),
        ("rows.parquet", b"{}", "cannot be read"),
        ("rows.parquet", b"", "cannot be read"),
    ],
)
def test_what_is_no_data_is_one_line(tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SourceError, match=said) as raised:
        rows_of(tmp_path / name)
    assert str(raised.value).count(str(tmp_path / name)) == 1
    assert "\n" not in str(raised.value)


def test_a_column_that_cannot_be_kept_is_one_line(tmp_path):
    table = pa.table({"n": pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int64()))})
    pq.write_table(table, tmp_path / "rows.parquet")
    with pytest.raises(SourceError, match=r"rows.parquet cannot be read: .*map<string"):
        rows_of(tmp_path / "rows.parquet")


def test_a_damaged_page_of_parquet_is_no_want_of_space(tmp_path):
    pq.write_table(pa.table({"n": ["a", "b"]}), tmp_path / "rows.parquet")
    content = bytearray((tmp_path / "rows.parquet").read_bytes())
    content[20:40] = b"\xff" * 20
    (tmp_path / "rows.parquet").write_bytes(content)
    with pytest.raises(SourceError, match=r"rows.parquet cannot be read: "):
        rows_of(tmp_path / "rows.parquet")


def test_a_column_that_is_there_twice_is_one_line(tmp_path):
    table = pa.Table.from_arrays([pa.array(["a"])] * 2, names=["n", "n"])
    pq.write_table(table, tmp_path / "rows.parquet")
    with pytest.raises(SourceError, match=r"rows.parquet cannot be read: .*\bn\b.*2 times"):
        rows_of(tmp_path / "rows.parquet")


def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "rows.jsonl")
    with pytest.raises(SourceError, match=r"rows.jsonl: expected a file"):
        load_file(tmp_path / "rows.jsonl")


def test_categories_of_pandas_are_texts(tmp_path):
    table = pa.table({"n": pa.array(["a", "b", "a"]).dictionary_encode()})
    pq.write_table(table, tmp_path / "rows.parquet")
    assert load_file(tmp_path / "rows.parquet")["n"][:] == ["a", "b", "a"]


def test_a_cache_that_cannot_be_written_is_one_line(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "file")
    path = write(tmp_path / "rows.jsonl", lines("own"))
    with pytest.raises(SourceError, match="HF_DATASETS_CACHE") as raised:
        rows_of(path)
    assert str(tmp_path / "file") in str(raised.value)
