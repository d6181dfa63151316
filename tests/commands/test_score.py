"""Scores of completions by reward models."""

import json

import pytest
import torch

from lightning_marlhf.commands import score
from lightning_marlhf.evaluation.reward_models import describe_scores
from lightning_marlhf.models.network_factory import NetworkFactory
from lightning_marlhf.rollout.scoring import RewardModelScorer
from tests.commands.one_line import error_line
from tests.published import GEMMA_TEMPLATE, publish

ROWS = [
    {"prompt": "what is it?", "response": " it is a cat.", "kept": 1, "scores": {"gold": 2.0}},
    {"prompt": "it", "response": "", "ended": False},
    {"prompt": "\n\nHuman: it\n\nAssistant:", "response": " is", "ended": True},
]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return publish(tmp_path_factory.mktemp("models") / "rm", "reward_model", pad="<eos>")


@pytest.fixture
def completions(tmp_path):
    path = tmp_path / "c.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return path


def expected(model, **settings):
    scorer = RewardModelScorer(str(model), **settings)
    scorer.load(NetworkFactory(torch.device("cpu")))
    columns = zip(*((r["prompt"], r["response"], r.get("ended", True)) for r in ROWS), strict=True)
    return scorer.score_texts(*columns).tolist()


def run(*arguments):
    return score.main(["score", *map(str, arguments)])


def test_the_same_rows_come_out_with_a_score_each(model, completions, tmp_path, capsys):
    out = tmp_path / "s.jsonl"
    assert run(model, "--completions", completions, "--out", out, "--batch-size", 2) == 0
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    scores = [row["scores"]["rm"] for row in rows]
    assert scores == pytest.approx(expected(model), abs=1e-5)
    assert rows[0]["scores"]["gold"] == 2.0
    assert [{**row, "scores": None} for row in rows] == [{**row, "scores": None} for row in ROWS]
    mean = sum(scores) / 3
    assert f"rm: mean {mean:.4g}, standard deviation" in capsys.readouterr().out


def test_without_a_file_rows_go_to_standard_output_and_the_summary_to_standard_error(model, completions, capsys):
    assert run(model, "--completions", completions, "--name", "mine") == 0
    out, error = capsys.readouterr()
    rows = [json.loads(line) for line in out.splitlines()]
    assert [row["scores"]["mine"] for row in rows] == pytest.approx(expected(model), abs=1e-5)
    assert "mine: mean" in error


def test_a_chat_template_is_used_when_asked_for_and_otherwise_pointed_out(completions, tmp_path, capsys):
    model = publish(tmp_path / "chat", "reward_model", template=GEMMA_TEMPLATE)
    assert run(model, "--completions", completions, "--chat-template") == 0
    out, error = capsys.readouterr()
    scores = [json.loads(line)["scores"]["rm"] for line in out.splitlines()]
    assert scores == pytest.approx(expected(model, chat_template=True), abs=1e-5)
    assert "--chat-template" not in error
    assert run(model, "what is it?", " it") == 0
    assert "has a chat template; --chat-template uses it" in capsys.readouterr().err


def test_messages_and_the_tokens_of_a_completion_are_what_is_scored(tmp_path, capsys):
    model = publish(tmp_path / "chat", "reward_model", template=GEMMA_TEMPLATE)
    asked = [{"role": "user", "content": "what is it?"}]
    scorer = RewardModelScorer(str(model))
    scorer.load(NetworkFactory(torch.device("cpu")))
    text = scorer.tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True)
    ids = scorer.tokenizer(text, add_special_tokens=False).input_ids
    response = [i for c in "it is" for i in scorer.tokenizer(c, add_special_tokens=False).input_ids]
    rows = [
        {"prompt": asked, "response": "it is"},
        {"prompt": "[u]what is it?[a]", "messages": asked, "response": "it is"},
        {
            "prompt": "what is it?",
            "messages": [*asked, {"role": "assistant", "content": "it is"}],
            "response": "it is",
            "prompt_ids": ids,
            "response_ids": response,
        },
    ]
    path = tmp_path / "c.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert run(model, "--completions", path) == 0
    out = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [{key: row[key] for key in row if key != "scores"} for row in out] == rows
    first, second, by_ids = (row["scores"]["rm"] for row in out)
    whole = text + "it is<end_of_turn>\n"
    tokens = (scorer.tokenizer(whole, add_special_tokens=False).input_ids, [*ids, *response])
    expected = [scorer._forward(torch.tensor([row]), torch.ones(1, len(row)).bool()).item() for row in tokens]
    assert [first, second, by_ids] == pytest.approx([expected[0], *expected], abs=1e-5)


def test_one_response_is_one_number(model, capsys):
    assert run(model, ROWS[0]["prompt"], ROWS[0]["response"]) == 0
    assert float(capsys.readouterr().out) == pytest.approx(expected(model)[0], rel=1e-4)


def test_a_summary_counts_every_score_once():
    lines = list(describe_scores([0.0, 1.0, 1.0, 10.0], "rm"))
    # mean 12 / 4; squared distances 9 + 4 + 4 + 49 = 66, over 3
    assert lines[0] == ("rm: mean 3, standard deviation 4.69, median 1, from 0 to 10, n 4")
    assert [line.split()[:2] for line in lines[1:4]] == [["0.000", "1"], ["1.000", "2"], ["2.000", "0"]]
    assert lines[-1].split()[:2] == ["9.000", "1"]
    assert len(lines) == 11
    assert list(describe_scores([2.0, 2.0], "rm")) == ["rm: mean 2, standard deviation 0, median 2, from 2 to 2, n 2"]


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["only a prompt"], 2, "--completions"),
        ([], 2, "--completions"),
        (["a", "b", "--completions", "c.jsonl"], 2, "--completions"),
        (["a", "b", "--batch-size", "0"], 2, "--batch-size: expected at least 1"),
        (["a", "b", "--dtype", "float8"], 2, "--dtype: expected 'auto' or 'float32'"),
        (["--completions", "missing.jsonl"], 1, "missing.jsonl"),
        (["a", "x" * 200], 1, "rows 1 to 1: a prompt with its response has 203 tokens"),
    ],
)
def test_mistakes_are_one_line(model, capsys, arguments, status, said):
    assert run(model, *arguments) == status
    assert said in error_line(capsys)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "no completions in"),
        ('{"prompt": "a"}', "row 1: expected `response` with a text"),
        ('{"prompt": "a", "response": "b"}\n{"response": "b"}', "row 2: expected `prompt`"),
        ('{"prompt": "a", "response": "b", "ended": 1}', "expected `ended` with true or false"),
        ("[]", "expected a JSON object"),
        ('{"prompt": [{"role": "user"}], "response": "b"}', "row 1: a message has role"),
        ('{"prompt": "a", "response": "b", "prompt_ids": ["x"]}', "row 1: expected `prompt_ids`"),
    ],
)
def test_a_file_that_holds_no_completions_is_one_line(model, tmp_path, capsys, content, said):
    (tmp_path / "c.jsonl").write_text(content)
    assert run(model, "--completions", tmp_path / "c.jsonl") == 1
    assert said in error_line(capsys)


def test_a_file_is_not_replaced_unasked(model, completions, capsys):
    before = completions.read_text()
    assert run(model, "--completions", completions, "--out", completions) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert completions.read_text() == before
    assert run(model, "--completions", completions, "--out", completions, "--overwrite") == 0
    assert len(completions.read_text().splitlines()) == len(ROWS)


def test_a_score_that_is_no_number_is_not_written(model, completions, tmp_path, capsys, monkeypatch):
    scores = torch.tensor([0.0, float("nan"), 1.0])
    monkeypatch.setattr(RewardModelScorer, "score_texts", lambda *_: scores)
    out = tmp_path / "s.jsonl"
    assert run(model, "--completions", completions, "--out", out) == 1
    assert "the score of row 2 is nan: try --dtype float32" in capsys.readouterr().err
    assert not out.exists()
