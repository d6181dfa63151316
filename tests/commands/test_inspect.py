import io

import pytest
from rich.console import Console

from lightning_marlhf.commands import inspect
from lightning_marlhf.records import write_jsonl
from tests.commands.one_line import error_line
from tests.rollout_rows import completion


@pytest.fixture
def run_dir(tmp_path):
    for name, ids in (("rollouts-000040", "ab"), ("rollouts-000080", "cd")):
        write_jsonl(tmp_path / f"completions/{name}.jsonl", [completion(sample_id) for sample_id in ids])
    return tmp_path


def test_a_run_directory_shows_its_newest_rollouts(run_dir, capsys):
    assert inspect.main(["inspect", str(run_dir), "--plain"]) == 0
    text = capsys.readouterr().out
    assert "rollouts-000080.jsonl: 2 rows" in text
    assert "row 0  c" in text
    assert "row 1  d" in text


def test_what_a_system_leaves_beside_the_rollouts_is_none(run_dir, capsys):
    (run_dir / "completions" / "._rollouts-000080.jsonl").write_bytes(b"\0\x05\x16\x07")
    assert inspect.main(["inspect", str(run_dir), "--plain"]) == 0
    assert "rollouts-000080.jsonl: 2 rows" in capsys.readouterr().out


def test_the_name_of_a_file_steers_no_terminal(run_dir, capsys):
    newest = run_dir / "completions" / "rollouts-000080.jsonl"
    newest.rename(newest.with_name("rollouts-\x1b[2J.jsonl"))
    assert inspect.main(["inspect", str(run_dir), "--plain", "--num-rows", "1"]) == 0
    assert "\x1b" not in capsys.readouterr().out


def test_one_row_can_be_chosen(run_dir, capsys):
    assert inspect.main(["inspect", str(run_dir), "--row", "1"]) == 0
    text = capsys.readouterr().out
    assert "row 1  d" in text
    assert "row 0" not in text


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["--row", "2"], 1, "has rows 0 to 1"),
        (["--row", "-1"], 2, "--row: expected at least 0"),
        (["--num-rows", "0"], 2, "--num-rows: expected at least 1, got 0"),
    ],
)
def test_wrong_choices_are_one_line(run_dir, capsys, arguments, status, said):
    assert inspect.main(["inspect", str(run_dir), *arguments]) == status
    assert said in error_line(capsys)


@pytest.mark.parametrize(
    "trace",
    [
        {},
        {"tokens": ["a"]},
        {"tokens": ["a", "b"], "macro_index": [0]},
        {"tokens": ["a"], "macro_index": [0], "values": [0.1, 0.2]},
        {"tokens": "a", "macro_index": [0]},
    ],
)
def test_a_broken_trace_is_one_line(tmp_path, capsys, trace):
    write_jsonl(tmp_path / "a.jsonl", [completion(), completion(trace=trace)])
    assert inspect.main(["inspect", str(tmp_path / "a.jsonl"), "--plain"]) == 1
    said = capsys.readouterr().err
    assert "a.jsonl: row" in said
    assert "trace" in said
    assert said.count("\n") == 1


def test_a_folder_without_rollouts_is_one_line(tmp_path, capsys):
    assert inspect.main(["inspect", str(tmp_path)]) == 1
    assert "no rollouts" in capsys.readouterr().err


def test_keys_page_through_the_rows(run_dir, monkeypatch):
    keys = iter(["n", "n", "p", "1", "\r", "q"])
    monkeypatch.setattr(inspect, "read_key", lambda: next(keys))
    console = Console(file=io.StringIO(), width=80)
    rows = [(i, completion(f"id-{i}")) for i in range(3)]
    inspect.page(rows, console)
    text = console.file.getvalue()
    assert [word for line in text.splitlines() for word in line.split() if word.startswith("id-")] == [
        "id-0",
        "id-1",
        "id-2",
        "id-1",
        "id-1",
    ]
