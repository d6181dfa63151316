"""Text files are UTF-8, their lines end at newlines alone, and what is no row is told by file and row."""

import codecs
import gzip

import pytest

from lightning_marlhf.files import (
    open_bytes,
    parse_row,
    read_json_or_empty,
    read_jsonl,
    read_lines,
    truncate_partial_line,
    write_json,
)


@pytest.mark.parametrize("content", [None, b"", b"[1]", b"{", b"\xff"])
def test_json_that_is_missing_or_damaged_is_empty_where_that_is_allowed(tmp_path, content):
    path = tmp_path / "one.json"
    if content is not None:
        path.write_bytes(content)
    assert read_json_or_empty(path) == {}
    write_json(path, {"a": "ä"})
    assert read_json_or_empty(path) == {"a": "ä"}


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
        with pytest.raises(ValueError, match=r"rows.jsonl.gz: truncated gzip file"):
            list(read_jsonl(tmp_path / "rows.jsonl.gz"))


def test_whole_surrogate_pairs_are_text_and_halves_where_they_are_asked_for():
    assert parse_row('{"a": "\\ud83d\\ude00"}') == {"a": "\U0001f600"}
    assert parse_row('{"a": "\\ud83d"}', lone_surrogates=True) == {"a": "\ud83d"}


@pytest.mark.parametrize("torn", ['{"num', '{"number": 2}', ""])
def test_a_row_that_was_not_finished_is_cut_off(tmp_path, torn):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"number": 1}\n' + torn)
    truncate_partial_line(path)
    assert path.read_text() == '{"number": 1}\n'
