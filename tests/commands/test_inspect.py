import io

import pytest
from rich.console import Console

from lightning_marlhf.commands import inspect
from lightning_marlhf.records import Completion, TokenTrace, write_jsonl


def completion(sample_id="a", **changes) -> Completion:
    trace = TokenTrace(
        tokens=["he", "l", "\n", "<eos>"],
        macro_index=[0, 0, 1, 1],
        values=[0.5, 0.25, 0.0, -1.5],
        rewards=[-0.01, 0.0, 0.0, 2.0],
        advantages=[1.0, 1.0, -1.0, -1.0],
        kl=[0.1, 0.0, 0.0, 0.0],
    )
    fields = {
        "prompt": "say",
        "response": "hel\n",
        "model": "m",
        "seed": 1,
        "step": 40,
        "num_tokens": 4,
    }
    fields |= {"ended": True, "scores": {"gold": 2.5}, "kl": 0.1, "trace": vars(trace)}
    return Completion(sample_id=sample_id, **{**fields, **changes})


@pytest.fixture
def run_dir(tmp_path):
    for name, ids in (("rollouts-000040", "ab"), ("rollouts-000080", "cd")):
        write_jsonl(
            tmp_path / f"completions/{name}.jsonl", [completion(sample_id) for sample_id in ids]
        )
    return tmp_path


def shown(row: Completion, *, plain: bool, width: int = 80) -> str:
    colours = None if plain else "truecolor"
    console = Console(
        file=io.StringIO(), force_terminal=not plain, color_system=colours, width=width
    )
    inspect.show(row, number=0, console=console, plain=plain)
    return console.file.getvalue()


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
    assert inspect.main(["inspect", str(run_dir), "--plain", "--num", "1"]) == 0
    assert "\x1b" not in capsys.readouterr().out


def test_plain_text_has_bars_between_macro_actions_and_numbers_below_tokens():
    lines = shown(completion(), plain=True).splitlines()
    assert "gold 2.5, KL 0.1, 4 tokens, 2 macro actions, update 40" in lines
    assert "hel|" in lines
    tokens = next(line for line in lines if line.startswith("tokens"))
    assert tokens.split() == ["tokens", "he", "l|", "⏎", "<eos>"]
    assert next(line for line in lines if line.startswith("values")).split() == [
        "values",
        "0.50",
        "0.25",
        "0.00",
        "-1.50",
    ]
    assert all(any(line.startswith(name) for line in lines) for name in inspect.ROWS)


def test_numbers_stand_under_their_tokens():
    lines = shown(completion(), plain=True).splitlines()
    tokens = next(line for line in lines if line.startswith("tokens"))
    values = next(line for line in lines if line.startswith("values"))
    assert values.index("0.50") + 4 == tokens.index("he") + 2
    assert values.index("-1.50") + 5 == tokens.index("<eos>") + 5


def test_macro_actions_alternate_in_colour():
    text = inspect.response_text(completion(), plain=False)
    assert [str(span.style) for span in text.spans] == [inspect.COLOURS[i] for i in (0, 0, 1, 1)]


def test_a_long_response_is_broken_into_lines_of_whole_tokens():
    lines = [str(line) for line in inspect.token_lines(completion(), width=26, plain=True)]
    assert sum(line.startswith("tokens") for line in lines) == 2
    assert max(map(len, lines)) <= 26


def test_control_characters_of_a_response_do_not_reach_the_terminal():
    row = completion(prompt="\x1b[2J", response="\x1b]0;x\x07", trace=None)
    text = shown(row, plain=True)
    assert "\x1b" not in text
    assert "\x07" not in text


def test_a_row_without_a_trace_is_shown_as_text():
    assert "hel" in shown(completion(trace=None), plain=True)


def test_one_row_can_be_chosen(run_dir, capsys):
    assert inspect.main(["inspect", str(run_dir), "--row", "1"]) == 0
    text = capsys.readouterr().out
    assert "row 1  d" in text
    assert "row 0" not in text


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--row", "2"], "has rows 0 to 1"),
        (["--num", "0"], "--num: expected at least 1, got 0"),
    ],
)
def test_wrong_choices_are_one_line(run_dir, capsys, arguments, said):
    assert inspect.main(["inspect", str(run_dir), *arguments]) == 1
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


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
    inspect._page(rows, console)
    text = console.file.getvalue()
    assert [
        word for line in text.splitlines() for word in line.split() if word.startswith("id-")
    ] == [
        "id-0",
        "id-1",
        "id-2",
        "id-1",
        "id-1",
    ]


def test_a_row_of_a_model_without_a_run_names_no_update():
    assert "update" not in shown(completion(step=None), plain=True)
    assert "4 tokens, 2 macro actions\n" in shown(completion(step=None), plain=True)
