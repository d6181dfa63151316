import io
import json

import pytest
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from lightning_marlhf.commands import generate
from lightning_marlhf.models.hf_export import export


@pytest.fixture
def run_dir(tmp_path, make_lm, tokenizer: PreTrainedTokenizerBase):
    model: PreTrainedModel = make_lm("gemma")
    export(model, tokenizer, tmp_path / "run/export", card={})
    return tmp_path / "run"


def answers(capsys, *arguments) -> list[dict]:
    assert generate.main(["generate", *map(str, arguments), "--json", "--max-new-tokens", "6"]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_a_run_or_its_export_answers_each_prompt_as_often_as_asked(run_dir, capsys):
    rows = answers(capsys, run_dir, "abc", "hello there", "--num-samples", 2)
    assert [(row["prompt"], row["sample"]) for row in rows] == [
        ("abc", 0),
        ("abc", 1),
        ("hello there", 0),
        ("hello there", 1),
    ]
    assert rows[0]["response"] != rows[1]["response"]
    assert all(1 <= row["num_tokens"] <= 6 for row in rows)
    assert answers(capsys, run_dir / "export", "abc", "hello there", "--num-samples", 2) == rows


def test_the_seed_decides_whatever_the_batch(run_dir, capsys):
    prompts = ["abc", "hello there", "x"]
    together = answers(capsys, run_dir, *prompts)
    assert answers(capsys, run_dir, *prompts, "--batch-size", 1) == together
    assert answers(capsys, run_dir, *prompts, "--seed", 2) != together


def test_prompts_come_from_a_file_or_from_standard_input(run_dir, tmp_path, capsys, monkeypatch):
    (tmp_path / "p.txt").write_text("abc\n\nx\n")
    (tmp_path / "p.jsonl").write_text('{"prompt": "abc"}\n{"prompt": "x"}\n')
    rows = answers(capsys, run_dir, "abc", "x")
    assert answers(capsys, run_dir, "--file", tmp_path / "p.txt") == rows
    assert answers(capsys, run_dir, "--file", tmp_path / "p.jsonl") == rows
    monkeypatch.setattr("sys.stdin", io.StringIO("abc\nx\n"))
    assert answers(capsys, run_dir) == rows


def test_text_output_shows_the_prompt_only_where_there_are_several(run_dir, capsys):
    assert (
        generate.main(
            ["generate", str(run_dir), "abc", "--max-new-tokens", "2", "--temperature", "0"]
        )
        == 0
    )
    assert "> abc" not in capsys.readouterr().out
    assert generate.main(["generate", str(run_dir), "abc", "x", "--max-new-tokens", "2"]) == 0
    assert "> abc\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere/at/all", "abc"], "does not exist"),
        (["{run}", "abc", "--temperature", "-1"], "temperature: expected 0 (greedy) or more"),
        (["{run}", "abc", "--num-samples", "0"], "--num-samples: expected at least 1"),
        (["{run}", "--file", "missing.txt"], "No such file or directory: missing.txt"),
        (["{run}", "abc", "--file", "missing.txt"], "give one of them"),
    ],
)
def test_mistakes_are_one_line(run_dir, capsys, arguments, said):
    assert (
        generate.main(["generate", *(word.replace("{run}", str(run_dir)) for word in arguments)])
        == 1
    )
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_an_unfinished_run_points_to_its_checkpoint(tmp_path, capsys):
    (tmp_path / "checkpoints").mkdir()
    assert generate.main(["generate", str(tmp_path), "abc"]) == 1
    assert "has no export/ yet" in capsys.readouterr().err


def test_a_jsonl_without_prompts_is_named(run_dir, tmp_path, capsys):
    (tmp_path / "p.jsonl").write_text('{"text": "abc"}\n')
    assert generate.main(["generate", str(run_dir), "--file", str(tmp_path / "p.jsonl")]) == 1
    assert "`prompt` text on every line" in capsys.readouterr().err
