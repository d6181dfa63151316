"""Policies compared by scores: models, files, differences, what is drawn and what is kept."""

import gzip
import json
import statistics

import numpy as np
import pytest

from lightning_marlhf.commands import rm_score
from lightning_marlhf.display.document import Pictures
from lightning_marlhf.evaluation import scored_folder
from lightning_marlhf.inference import completions
from lightning_marlhf.records import RMScores
from lightning_marlhf.reporting import distributions
from tests.commands.one_line import error_line
from tests.commands.scored import FACTS, completion, opposite, read, scores_of, write
from tests.published import publish


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    return {
        "gemma": publish(folder / "gemma"),
        "gemma2": publish(folder / "gemma2", "gemma2"),
        "rm": publish(folder / "rm", "reward_model", pad="<eos>"),
    }


@pytest.fixture
def prompts(tmp_path):
    rows = [{"sample_id": f"p{n}", "prompt": f"what is {n}?"} for n in range(6)]
    return write(tmp_path / "p.jsonl", rows)


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch, request):
    """Draw in one test alone: a picture takes about a second."""
    if request.function is not test_models_respond_to_the_same_prompts_and_are_compared:
        monkeypatch.setattr(distributions, "histogram_pictures", lambda *_: Pictures((), ""))


def run(*arguments):
    return rm_score.main(["rm-score", *map(str, arguments)])


def result(folder):
    return RMScores.from_dict(json.loads((folder / "rm_score.json").read_text()))


def test_models_respond_to_the_same_prompts_and_are_compared(models, prompts, tmp_path, capsys):
    out = tmp_path / "out"
    arguments = (models["gemma"], models["gemma2"], "--prompts", prompts, "--num-prompts", 4)
    settings = ("--reward-model", models["rm"], "--max-new-tokens", 4, "--out", out)
    assert run(*arguments, *settings) == 0
    first, second = (read(out / f"completions/{n}.jsonl") for n in ("0-gemma", "1-gemma2"))
    drawn = [f"p{n}" for n in np.random.default_rng(1234).permutation(6)[:4]]
    assert [row["sample_id"] for row in first] == [row["sample_id"] for row in second] == drawn
    sampling = {"max_new_tokens": 4, "temperature": 0.8, "top_k": 50, "top_p": 1.0}
    assert first[0]["settings"] == {**sampling, "format": "text", "dtype": "float32"}
    found = result(out)
    assert [policy.label for policy in found.policies] == ["gemma", "gemma2"]
    assert found.settings == {**sampling, "num_prompts": 4, "seed": 1234, "format": "text"}
    scores = [scores_of(models["rm"], rows) for rows in (first, second)]
    for policy, expected in zip(found.policies, scores, strict=True):
        assert policy.scores["rm"].mean.mean == pytest.approx(statistics.fmean(expected), abs=1e-5)
        assert policy.scores["rm"].spread == pytest.approx(statistics.stdev(expected), abs=1e-5)
    assert found.policies[0].scores["rm"].difference is None
    difference = found.policies[1].scores["rm"].difference
    assert difference.mean == pytest.approx(statistics.fmean(scores[1]) - statistics.fmean(scores[0]), abs=1e-5)
    assert difference.low <= difference.mean <= difference.high
    printed = capsys.readouterr().out
    assert f"{difference.mean:+.3f}" in printed
    assert f"{difference.mean:+.3f}" in (out / "rm_score.md").read_text()
    assert (out / "rm_score.png").read_bytes().startswith(b"\x89PNG")


def test_files_of_completions_are_policies_too(models, tmp_path):
    before = [completion("it", "is"), completion("a", "cat"), completion("only", "here")]
    bare = [{"prompt": "it", "response": "a"}, {"prompt": "it", "response": "cat"}]
    files = write(tmp_path / "a.jsonl", before), write(tmp_path / "b.jsonl", bare)
    content = files[1].read_bytes()
    assert run(*files, "--reward-model", models["rm"], "--out", tmp_path / "out") == 0
    found = result(tmp_path / "out")
    assert [(p.label, p.num_prompts, p.num_responses) for p in found.policies] == [("a.jsonl", 3, 3), ("b.jsonl", 1, 2)]
    second = found.policies[1].scores["rm"]
    ours = scores_of(models["rm"], [{**row, "ended": True} for row in bare])
    theirs = scores_of(models["rm"], before)[0]
    assert second.num_paired == 1
    assert second.difference.mean == pytest.approx(statistics.fmean(ours) - theirs, abs=1e-5)
    assert second.difference.low is None  # one prompt
    assert files[1].read_bytes() == content
    assert found.settings == {}


def test_a_packed_file_of_completions_is_a_policy_too(models, tmp_path):
    file = write(tmp_path / "a.jsonl", [completion("it", "is"), completion("a", "cat")])
    packed = tmp_path / "b.jsonl.gz"
    packed.write_bytes(gzip.compress(file.read_bytes()))
    assert run(file, packed, "--reward-model", models["rm"], "--out", tmp_path / "out") == 0
    assert [p.num_responses for p in result(tmp_path / "out").policies] == [2, 2]


def test_nothing_is_asked_twice(models, prompts, tmp_path, monkeypatch):
    arguments = (models["gemma"], "--prompts", prompts, "--num-prompts", 6, "--max-new-tokens", 3, "--gold")
    rows = [{**json.loads(line), "reference": FACTS} for line in prompts.read_text().splitlines()]
    write(prompts, rows)
    given = (*arguments, "--reward-model", models["rm"], "--out", tmp_path / "out")
    assert run(*given) == 0
    before = (tmp_path / "out/rm_score.json").read_text()
    monkeypatch.setattr(scored_folder, "append_jsonl", None)
    monkeypatch.setattr(completions, "append_jsonl", None)
    assert run(*given) == 0
    assert (tmp_path / "out/rm_score.json").read_text() == before
    assert list(result(tmp_path / "out").scorers) == ["rm", "gold"]


def test_another_reward_model_is_asked_anew(models, tmp_path):
    file = write(tmp_path / "a.jsonl", [completion("it", "is"), completion("a", "cat")])
    other = opposite(models["rm"], tmp_path / "other")
    means = []
    for rm in (models["rm"], other, models["rm"]):
        assert run(file, "--reward-model", rm, "--out", tmp_path / "out") == 0
        means.append(result(tmp_path / "out").policies[0].scores["rm"].mean.mean)
    assert means[0] == means[2]
    assert means[1] == pytest.approx(-means[0], abs=1e-5)
    assert len(read(tmp_path / "out/scores.jsonl")) == 4


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        ([], 2, "MODEL_OR_FILE"),
        (["{file}"], 2, "--reward-model is missing"),
        (["{file}", "{file}", "--gold"], 2, "c.jsonl is given twice"),
        (["{file}", "m", "--gold"], 2, "--prompts is missing"),
        (["{file}", "--gold", "--prompts", "p"], 2, "--prompts: files of completions"),
        (["{file}", "--gold", "--num-prompts", "0"], 2, "--num-prompts: expected at least 1"),
        (["{file}", "--gold", "--temperature", "-1"], 2, "--temperature: expected at least 0"),
        (["missing.jsonl", "--gold"], 1, "missing.jsonl"),
        (["{file}", "--reward-model", "nowhere/at/all"], 1, "nowhere/at/all"),
    ],
)
def test_mistakes_are_one_line(tmp_path, capsys, arguments, status, said):
    file = write(tmp_path / "c.jsonl", [completion("it", "is")])
    given = [each.replace("{file}", str(file)) for each in arguments]
    assert run(*given, "--out", tmp_path / "out") == status
    assert said in error_line(capsys)


def test_a_row_that_cannot_be_scored_is_named_with_its_file(models, tmp_path, capsys):
    rows = [completion("it", "is"), completion("it", "x" * 200)]
    file = write(tmp_path / "c.jsonl", rows)
    assert run(file, "--reward-model", models["rm"], "--batch-size", 1, "--out", tmp_path / "o") == 1
    assert "0-c.jsonl: rows 2 to 2: a prompt with its response has" in capsys.readouterr().err
