"""Where prompts come from, and in which format they are."""

import codecs
import io
import json

import pytest

from lightning_marlhf.inference.prompts import read_prompts


def write(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def give(monkeypatch, content: bytes):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))


def test_prompts_come_from_arguments_a_file_or_standard_input(tmp_path, monkeypatch):
    expected = read_prompts(["abc", "x"], None, "text")
    assert [(prompt.sample_id, prompt.text) for prompt in expected] == [("0", "abc"), ("1", "x")]
    (tmp_path / "p.txt").write_text("abc\n\nx\n")
    rows = write(tmp_path / "p.jsonl", {"prompt": "abc"}, {"prompt": "x"})
    assert read_prompts([], tmp_path / "p.txt", "text") == expected
    assert read_prompts([], rows, "text") == expected
    give(monkeypatch, b"abc\nx\n")
    assert read_prompts([], None, "text") == expected


ODD = ["how do I boil\u2028an egg?", "the cat\u0085sat", "page one\x0cpage two", "a\x0btab"]


@pytest.mark.parametrize("mark", [b"", codecs.BOM_UTF8])
def test_a_prompt_per_line_is_one_line_whatever_it_holds(tmp_path, monkeypatch, mark):
    content = mark + "\n".join(ODD).encode()
    (tmp_path / "p.txt").write_bytes(content)
    give(monkeypatch, content)
    for file in (tmp_path / "p.txt", None):
        assert [prompt.text for prompt in read_prompts([], file, "text")] == ODD


@pytest.mark.parametrize("name", ["p.txt", "p.jsonl"])
@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
def test_prompts_that_are_not_utf_8_are_told_by_file_and_row(tmp_path, name, encoding):
    (tmp_path / name).write_text('{"prompt": "caf\u00e9"}\n', encoding=encoding)
    with pytest.raises(ValueError, match=f"{name}: row 1: expected text in UTF-8"):
        read_prompts([], tmp_path / name, "text")


def test_a_typed_prompt_that_is_not_utf_8_is_told_by_its_number():
    with pytest.raises(ValueError, match="prompt 2: expected text in UTF-8"):
        read_prompts(["a", "caf\udce9"], None, "text")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "no prompts in"),
        ("{", r"p.jsonl: row 1: not JSON"),
        ('{"text": "abc"}', r"p.jsonl: row 1: expected a `prompt` with a text$"),
        ('{"prompt": " "}', "row 1: expected a `prompt` with a text"),
        ('{"prompt": "a"}\n\n{"prompt": 1}', "row 2: expected a `prompt` with a text"),
        ('{"prompt": [{"role": "user", "content": "a"}]}', "row 1: .*--format chat"),
        ('{"prompt": "a", "sample_id": 7}\n' * 2, "expected different `sample_id`s, got 7 twice"),
    ],
)
def test_a_file_without_prompts_is_told_by_its_row(tmp_path, content, said):
    (tmp_path / "p.jsonl").write_text(content)
    with pytest.raises(ValueError, match=said):
        read_prompts([], tmp_path / "p.jsonl", "text")


def test_rows_of_a_data_set_are_prompts_in_its_format(tmp_path, capsys):
    info = {"post": "it is", "subreddit": "cats", "article": None}
    row = {"info": info, "summaries": [{"text": " a"}, {"text": " b"}], "choice": 0}
    file = write(tmp_path / "rows.jsonl", {**row, "info": {**info, "post": " "}}, row)
    (prompt,) = read_prompts([], file, "tldr")
    assert prompt.text == "POST\nSubreddit: r/cats\nit is\nTL;DR: "
    assert prompt.sample_id == "1"
    assert capsys.readouterr().err == f"{file}: rows left out: 1 (empty prompt; the first is 1)\n"
    with pytest.raises(ValueError, match="row 1: expected a `prompt` with a text; --format tldr"):
        read_prompts([], file, "text")


def test_a_row_keeps_its_name_and_reference(tmp_path):
    row = {"prompt": "it", "sample_id": "valid-7", "reference": {"best": "cat"}}
    (prompt,) = read_prompts([], write(tmp_path / "rows.jsonl", row), "text")
    assert (prompt.sample_id, prompt.text, prompt.reference) == ("valid-7", "it", {"best": "cat"})
