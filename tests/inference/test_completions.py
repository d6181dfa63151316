"""Files of completions that anybody may have written; `generate` itself is tested in tests/commands."""

import json

import pytest

from lightning_marlhf.inference.completions import read_responses


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_rows_of_other_programs_need_a_prompt_and_a_response_alone(tmp_path):
    (row,) = read_responses(write(tmp_path / "a.jsonl", [{"prompt": "p", "response": "r", "x": 1}]))
    assert (row.sample_id, row.prompt, row.response, row.reference) == ("0", "p", "r", None)
    assert (row.ended, row.step, row.prompt_ids) == (True, None, None)


def test_messages_as_the_prompt_are_kept_and_read_as_text(tmp_path):
    turns = [{"role": "user", "content": "p"}]
    (row,) = read_responses(write(tmp_path / "a.jsonl", [{"prompt": turns, "response": "r"}]))
    assert (row.prompt, row.messages) == ("p", turns)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([], "no completions in"),
        ([{"prompt": "p", "response": "r"}, {"prompt": "p"}], "row 2: expected `response`"),
        ([{"prompt": 1, "response": "r"}], "row 1: expected `prompt` with a text"),
        ([{"prompt": "p", "response": "r", "ended": 1}], "row 1: expected `ended`"),
        ([{"prompt": "p", "response": "r", "response_ids": "1"}], "row 1: expected `response_ids`"),
        ([{"prompt": [{"role": "x"}], "response": "r"}], "row 1: "),
    ],
)
def test_a_file_that_holds_no_responses_is_told_by_its_row(tmp_path, rows, said):
    with pytest.raises(ValueError, match=said):
        read_responses(write(tmp_path / "a.jsonl", rows))
