"""Best-of-N from a model, from completions, after an interruption, and by mistake."""

import itertools
import json
import statistics

import pytest

from lightning_marlhf.commands import best_of_n
from lightning_marlhf.display.document import Pictures
from lightning_marlhf.evaluation import scored_folder
from lightning_marlhf.inference import completions
from lightning_marlhf.records import BestOfN, append_jsonl, read_completions
from lightning_marlhf.reporting import best_of_n as figures
from tests.commands.one_line import error_line
from tests.commands.scored import FACTS, completion, opposite, read, scores_of, write
from tests.published import publish

NUMBERS = {"p": [1.0, 4.0, 2.0], "q": [0.0, 3.0, 6.0]}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    return publish(folder / "policy"), publish(folder / "rm", "reward_model", pad="<eos>")


@pytest.fixture
def sample(models, tmp_path):
    """Run the command on the tiny models: sample("--n", 1, 2)."""
    (tmp_path / "p.txt").write_text("it is\na cat\n")
    policy, rm = models

    def run_it(*more):
        arguments = [policy, "--prompts", tmp_path / "p.txt", "--reward-model", rm, "--out"]
        settings = ["--max-new-tokens", 4, "--batch-size", 3, "--temperatures", 0.5, 1.5]
        return run(*arguments, tmp_path / "out", *settings, *more)

    return run_it


@pytest.fixture
def scored(tmp_path):
    """A file of completions that have scores."""
    rows = [
        completion(prompt, str(n), scores={"rm": rm, "gold": -rm, "odd": 1.0} if n else {"rm": rm, "gold": -rm})
        for prompt, numbers in NUMBERS.items()
        for n, rm in enumerate(numbers)
    ]
    return write(tmp_path / "c.jsonl", rows)


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch, request):
    """Draw in one test alone: a picture takes about a second."""
    if request.function is not test_pools_are_sampled_scored_and_estimated:
        monkeypatch.setattr(figures, "best_of_n_pictures", lambda *_: Pictures((), ""))


def run(*arguments):
    return best_of_n.main(["best-of-n", *map(str, arguments)])


def result(folder):
    return BestOfN.from_dict(json.loads((folder / "best_of_n.json").read_text()))


def test_pools_are_sampled_scored_and_estimated(sample, models, tmp_path, capsys):
    assert sample("--n", 1, 2, 3) == 0
    out = tmp_path / "out"
    found = result(out)
    assert (found.model, found.chooser, found.scorers) == (str(models[0]), "rm", {"rm": str(models[1])})
    assert (found.num_prompts, found.num_samples) == (2, 3)
    assert [(p.temperature, p.n) for p in found.points] == [(t, n) for t in (0.5, 1.5) for n in (1, 2, 3)]
    for temperature in (0.5, 1.5):
        rows = read(out / f"completions/temperature-{temperature}.jsonl")
        assert [row["sample_id"] for row in rows] == ["0/0", "0/1", "0/2", "1/0", "1/1", "1/2"]
        scores = scores_of(models[1], rows)
        assert [row["scores"]["rm"] for row in rows] == pytest.approx(scores, abs=1e-5)
        by_prompt = [scores[:3], scores[3:]]
        points = {p.n: p.scores["rm"].mean for p in found.points if p.temperature == temperature}
        assert points[1] == pytest.approx(statistics.fmean(scores), abs=1e-5)
        pairs = [max(pair) for each in by_prompt for pair in itertools.combinations(each, 2)]
        assert points[2] == pytest.approx(statistics.fmean(pairs), abs=1e-5)
        assert points[3] == pytest.approx(statistics.fmean(map(max, by_prompt)), abs=1e-5)
    printed = capsys.readouterr().out
    assert printed.splitlines()[0].split()[:3] == ["Temperature", "N", "KL"]
    assert f"{points[3]:.3f}" in printed
    assert f"{points[3]:.3f}" in (out / "best_of_n.md").read_text()
    assert '<img src="best_of_n.png"' in (out / "best_of_n.md").read_text()
    assert (out / "best_of_n.png").read_bytes().startswith(b"\x89PNG")
    assert (out / "best_of_n.svg").exists()


def test_an_interrupted_command_goes_on_and_ends_the_same(sample, tmp_path, capsys, monkeypatch):
    assert sample("--n", 1, 3) == 0
    out = tmp_path / "out"
    whole = {path.name: path.read_bytes() for path in out.rglob("*.json*")}
    out.rename(tmp_path / "whole")
    for module, calls in ((completions, 3), (scored_folder, 2)):  # in the second pool; among the scores
        written = itertools.count(1)

        def append(path, rows, written=written, calls=calls):
            if next(written) == calls:
                raise KeyboardInterrupt
            append_jsonl(path, rows)

        with monkeypatch.context() as patch:
            patch.setattr(module, "append_jsonl", append)
            assert sample("--n", 1, 3) == 130
        error = capsys.readouterr().err
        assert error.startswith(f"interrupted: {out} keeps")
        assert "python -m lightning_marlhf best-of-n" in error
        assert not (out / "best_of_n.json").exists()
    with (out / "scores.jsonl").open("a") as file:
        file.write('{"scorer": "x')  # as a process that is killed leaves it
    assert sample("--n", 1, 3) == 0
    again = {path.name: path.read_bytes() for path in out.rglob("*.json*")}
    assert again.keys() == whole.keys()
    again.pop("scores.jsonl"), whole.pop("scores.jsonl")
    assert again == whole


def test_what_is_there_is_not_made_again(sample, monkeypatch):
    assert sample("--n", 1, 2) == 0
    with monkeypatch.context() as patch:
        patch.setattr(scored_folder, "append_jsonl", None)
        patch.setattr(completions, "append_jsonl", None)
        assert sample("--n", 2) == 0
    assert sample("--n", 3) == 0  # a larger pool begins with the smaller one


def test_other_responses_are_kept_unless_told_otherwise(sample, tmp_path, capsys):
    assert sample("--n", 2) == 0
    before = (tmp_path / "out/completions/temperature-0.5.jsonl").read_text()
    assert sample("--n", 2, "--seed", 2) == 1
    assert "holds other completions" in capsys.readouterr().err
    assert (tmp_path / "out/completions/temperature-0.5.jsonl").read_text() == before
    assert sample("--n", 2, "--seed", 2, "--overwrite") == 0
    assert {row.seed for row in read_completions(tmp_path / "out/completions/temperature-1.5.jsonl")} == {2}


def test_scores_that_completions_have_are_enough(scored, tmp_path, capsys):
    before = scored.read_bytes()
    assert run("--completions", scored, "--out", tmp_path / "out") == 0
    found = result(tmp_path / "out")
    assert (found.model, found.chooser, list(found.points[0].scores)) == ("m", "rm", ["rm", "gold"])
    assert [(point.n, point.temperature) for point in found.points] == [(1, None), (2, None)]
    # best of two: (4 + 4 + 2) / 3 and (3 + 6 + 6) / 3
    assert found.points[1].scores["rm"].mean == pytest.approx((10 / 3 + 5) / 2)
    assert found.points[1].scores["gold"].mean == pytest.approx(-(10 / 3 + 5) / 2)
    assert scored.read_bytes() == before


def test_the_second_reward_model_and_gold_see_what_the_first_has_chosen(models, tmp_path):
    other = opposite(models[1], tmp_path / "other")
    rows = [completion("it", text, reference=FACTS) for text in ("my boss.", "on friday.", "a cat")]
    file = write(tmp_path / "c.jsonl", rows)
    arguments = ("--reward-model", models[1], "--reward-model", other, "--gold")
    assert run("--completions", file, *arguments, "--out", tmp_path / "out", "--n", 3) == 0
    found = result(tmp_path / "out")
    first = scores_of(models[1], rows)
    best = first.index(max(first))
    (point,) = found.points
    assert point.scores["rm"].mean == pytest.approx(first[best], abs=1e-5)
    assert point.scores["held_out"].mean == pytest.approx(-first[best], abs=1e-5)
    assert point.scores["gold"].mean == (1.0, 1.0, -0.5)[best]
    assert found.scorers == {"rm": str(models[1]), "held_out": str(other), "gold": "exact score of tiny TL;DR"}


def test_another_score_may_choose(scored, tmp_path):
    assert run("--completions", scored, "--score", "gold", "--out", tmp_path / "out", "--n", 3) == 0
    (point,) = result(tmp_path / "out").points
    assert point.scores["gold"].mean == -0.5  # of -1 and 0
    assert point.scores["rm"].mean == 0.5


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        ([], 2, "MODEL"),
        (["m", "--completions", "{file}"], 2, "--completions"),
        (["m"], 2, "--prompts is missing"),
        (["m", "--prompts", "p.txt"], 2, "--reward-model is missing"),
        (["--completions", "{file}", "--prompts", "p.txt"], 2, "--prompts and --completions"),
        (["--completions", "missing.jsonl"], 1, "missing.jsonl"),
        (["--completions", "{file}", "--n", "0"], 2, "--n: expected at least 1, got 0"),
        (["--completions", "{file}", "--n", "4"], 2, "--n 4: a prompt has only 3 responses"),
        (["--completions", "{file}", "--score", "odd"], 2, "--score odd: completion 1"),
        (["--completions", "{file}", "--gold"], 1, "row 1: expected `reference`"),
        (["--completions", "{file}", "--temperatures", "0"], 2, "--temperatures: expected more"),
        (["--completions", "{file}", "--batch-size", "0"], 2, "--batch-size: expected at least 1"),
        (["--completions", "{file}", *["--reward-model", "r"] * 2], 2, "--reward-model: expected"),
        (["--completions", "{file}", "--out", "{file}"], 2, "expected a folder, got a file"),
    ],
)
def test_mistakes_are_one_line(scored, tmp_path, capsys, arguments, status, said):
    given = [each.replace("{file}", str(scored)) for each in arguments]
    assert run("--out", tmp_path / "out", *given) == status
    assert said in error_line(capsys)


def test_an_empty_file_is_one_line(tmp_path, capsys):
    file = write(tmp_path / "c.jsonl", [])
    assert run("--completions", file, "--out", tmp_path / "out") == 1
    assert "no completions in" in capsys.readouterr().err
