"""Two files of completions, compared by judges."""

import json
import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

from lightning_marlhf.commands import win_rate
from lightning_marlhf.evaluation import win_rate as statistics
from lightning_marlhf.evaluation.judges.language_model import LanguageModelJudge
from lightning_marlhf.evaluation.pairs import pair_completions
from lightning_marlhf.records import Verdict, read_completions, read_verdicts, write_jsonl
from tests.commands.one_line import error_line
from tests.evaluation.judges.stub_server import fails, prefers, said, serve

FACTS = {"who": "boss", "did": "told a lie", "when": "friday", "feel": "sad", "ask": "call"}
GOOD, BAD = "my boss. told a lie. on friday.", "my wife."


def row(n, response, **more):
    rest = {"model": "m", "seed": 1, "step": None, "num_tokens": 1, "ended": True}
    return {"sample_id": f"{n}", "prompt": f"prompt {n}", "response": response, **rest, **more}


def write(path, rows):
    path.write_text("".join(json.dumps(each) + "\n" for each in rows))
    return path


@pytest.fixture(autouse=True)
def no_proxy_and_no_key(monkeypatch):
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture(autouse=True)
def coarse_intervals(monkeypatch):
    """Fit few resamples: five hundred take seconds, and no test here looks at them."""
    monkeypatch.setattr(statistics, "_REFITS", 5)


@pytest.fixture
def files(tmp_path):
    """Twelve prompts; a is better in the first nine, b in the others."""
    answers = [(GOOD, BAD)] * 9 + [(BAD, GOOD)] * 3
    a = [row(n, one, reference=FACTS) for n, (one, _) in enumerate(answers)]
    b = [row(n, two, reference=FACTS) for n, (_, two) in enumerate(answers)]
    return SimpleNamespace(
        a=write(tmp_path / "a.jsonl", a),
        b=write(tmp_path / "b.jsonl", b),
        out=tmp_path / "out",
        cache=tmp_path / "cache.sqlite",
    )


def words(files, *more):
    given = {"a": files.a, "b": files.b, "out": files.out, "cache": files.cache}
    return [word for name, path in given.items() for word in (f"--{name}", str(path))] + [*more]


def run(files, *more):
    return win_rate.main(["win-rate", *words(files, *more)])


def results(files):
    return json.loads((files.out / "win_rate.json").read_text())


def honest(request):
    """Prefer the answer with more sentences."""
    shown = request["messages"][0]["content"]
    first = shown.split("[response A")[1].split("\n")[1]
    return prefers("A" if first == GOOD else "B")


def at(stub, *more):
    return ["--judge", f"openai:m@{stub.url}", "--retries", "0", *more]


# Results


def test_gold_says_how_often_a_is_better(files, capsys):
    assert run(files, "--judge", "gold") == 0
    judge = results(files)["judges"][0]
    assert (judge["wins"], judge["ties"], judge["losses"]) == (9, 0, 3)
    assert judge["win_rate"] == 0.75
    printed = capsys.readouterr().out
    assert "win rate of a          75.0 % (" in printed
    assert "wins / ties / losses   9 / 0 / 3" in printed
    page = (files.out / "win_rate.md").read_text()
    assert "| win rate of a | 75.0 % (" in page
    assert "flips" not in printed  # each text was seen alone


def test_turning_the_files_round_turns_the_rate_round(files):
    assert run(files, "--judge", "gold") == 0
    one = results(files)["judges"][0]["win_rate"]
    files.a, files.b = files.b, files.a
    assert run(files, "--judge", "gold", "--overwrite") == 0
    assert results(files)["judges"][0]["win_rate"] == 1 - one


def test_several_judges_are_compared(files, tmp_path, capsys):
    pairs = pair_completions(*map(read_completions, (files.a, files.b))).pairs
    verdicts = [
        Verdict(pair.pair_id, pair.fingerprint, "ab", winner, f"human:{who}")
        for who, winners in {"ada": "a" * 12, "bob": "a" * 6 + "b" * 6}.items()
        for pair, winner in zip(pairs, winners, strict=True)
    ]
    write_jsonl(tmp_path / "h.jsonl", verdicts)
    with serve(honest) as stub:
        judges = [*at(stub), "--judge", "gold", "--judge", f"human:{tmp_path / 'h.jsonl'}"]
        assert run(files, *judges) == 0
    model, gold, people = results(files)["judges"]
    assert (model["win_rate"], gold["win_rate"]) == (0.75, 0.75)
    assert model["flip_rate"] == 0.0
    # ada votes a for all, bob for the first half: six wins and six ties
    assert (people["wins"], people["ties"]) == (6, 6)
    raw = {(each["first"], each["second"]): each["raw"] for each in results(files)["agreement"]}
    name = f"openai:m@{stub.url}"
    assert raw[name, "gold"] == 1.0
    assert raw["gold", people["judge"]] == 0.5  # the first six alone: the rest are ties
    assert raw["human:ada", "human:bob"] == 0.5
    printed = capsys.readouterr().out
    assert f"{name} and gold: 100.0 % (100.0 to 100.0) of 12 pairs, kappa 1.00" in printed


def test_rows_without_a_partner_are_said(files, capsys):
    write(files.b, [row(n, GOOD, reference=FACTS) for n in range(10)])
    assert run(files, "--judge", "gold") == 0
    assert f"{files.a}: rows left out: 2" in capsys.readouterr().err
    assert results(files)["judges"][0]["pairs"] == 10


def test_the_papers_protocol_is_one_order_of_fifty_prompts(files):
    posts = [f"POST\nSubreddit: r/{'xy'[n % 2]}\n{n}\nTL;DR: " for n in range(120)]
    for path, response in ((files.a, GOOD), (files.b, BAD)):
        write(path, [row(n, response) | {"prompt": post} for n, post in enumerate(posts)])
    with serve([prefers("A")]) as stub:
        assert run(files, *at(stub), "--preset", "paper", "--task", "tldr") == 0
    assert stub.calls == 50
    shown = [request["messages"][0]["content"] for request in stub.requests]
    assert sum("r/x\n" in text for text in shown) == 25
    assert {request["temperature"] for request in stub.requests} == {0.0}
    assert results(files)["judges"][0]["prompt_version"].startswith("tldr_v1@")
    assert results(files)["seed"] == 42


# Going on


def test_what_is_there_is_not_asked_again(files):
    with serve(honest) as stub:
        assert run(files, *at(stub)) == 0
        first, lines = results(files), (files.out / "verdicts.jsonl").read_text()
        files.cache.unlink()
        assert run(files, *at(stub)) == 0
    assert stub.calls == 24
    assert results(files) == first
    assert (files.out / "verdicts.jsonl").read_text() == lines


def test_a_new_folder_costs_nothing_as_replies_are_cached(files, tmp_path):
    with serve(honest) as stub:
        assert run(files, *at(stub)) == 0
        first, files.out = results(files), tmp_path / "other"
        assert run(files, *at(stub)) == 0
    assert stub.calls == 24
    assert results(files) == first


def test_a_run_that_is_killed_goes_on_where_it_was(files):
    def slow(request):
        time.sleep(0.05)
        return honest(request)

    with serve(slow) as stub:
        command = [sys.executable, "-m", "lightning_marlhf", "win-rate"]
        process = subprocess.Popen([*command, *words(files, *at(stub, "--concurrency", "1"))])
        while stub.calls < 8:
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert run(files, *at(stub)) == 0
    assert 24 <= stub.calls <= 25  # the one that was on its way is asked again
    assert results(files)["judges"][0]["win_rate"] == 0.75


def test_ctrl_c_keeps_what_was_judged_and_says_how_to_go_on(files, capsys, monkeypatch):
    judge = LanguageModelJudge.judge

    def interrupted(self, pairs):
        for number, verdict in enumerate(judge(self, pairs)):
            if number == 5:
                raise KeyboardInterrupt
            yield verdict

    with serve(honest) as stub:
        monkeypatch.setattr(LanguageModelJudge, "judge", interrupted)
        assert run(files, *at(stub)) == 130
        said_aloud = capsys.readouterr().err
        assert f"interrupted: {files.out / 'verdicts.jsonl'} keeps" in said_aloud
        assert f"python -m lightning_marlhf win-rate --a {files.a}" in said_aloud
        assert len(read_verdicts(files.out / "verdicts.jsonl")) == 5
        monkeypatch.setattr(LanguageModelJudge, "judge", judge)
        assert run(files, *at(stub)) == 0
    assert results(files)["judges"][0]["pairs"] == 12


def test_a_row_that_was_cut_in_the_middle_is_judged_again(files):
    with serve(honest) as stub:
        assert run(files, *at(stub)) == 0
        verdicts = files.out / "verdicts.jsonl"
        verdicts.write_bytes(verdicts.read_bytes()[:-20])
        assert run(files, *at(stub)) == 0
    assert len(read_verdicts(verdicts)) == 24
    assert results(files)["judges"][0]["win_rate"] == 0.75


def test_verdicts_on_other_responses_do_not_count(files):
    with serve(honest) as stub:
        assert run(files, *at(stub)) == 0
        write(files.a, [row(n, BAD, reference=FACTS) for n in range(12)])
        assert run(files, *at(stub)) == 0
    assert results(files)["judges"][0]["wins"] == 0


def test_invalid_verdicts_are_asked_for_again_and_fail_the_run_meanwhile(files, capsys):
    with serve([fails(500, "boom")]) as stub:
        assert run(files, *at(stub, "--num-prompts", "2")) == 1
        assert "2 of 2 pairs are invalid, more than 5%" in (said_aloud := capsys.readouterr().err)
        assert "(the first: the server failed (500): boom)" in said_aloud
        stub.answer = honest
        assert run(files, *at(stub, "--num-prompts", "2")) == 0
    assert results(files)["judges"][0]["invalid"] == 0


def test_replies_are_read_again_without_a_call(files, monkeypatch, capsys):
    with serve([said("I say A.")]) as stub:
        assert run(files, *at(stub)) == 1
        calls = stub.calls
        monkeypatch.setattr(
            "lightning_marlhf.evaluation.judges.language_model.read_preference",
            lambda text, shown: "first" if text == "I say A." else None,
        )
        assert run(files, *at(stub, "--reparse")) == 0
    assert stub.calls == calls
    assert results(files)["judges"][0]["flip_rate"] == 1.0


# Limits


def test_a_limit_of_calls_keeps_what_was_judged_and_goes_on(files, capsys):
    with serve(honest) as stub:
        assert run(files, *at(stub, "--max-calls", "7", "--concurrency", "1")) == 1
        assert "error: stopped by --max-calls 7" in capsys.readouterr().err
        assert results(files)["judges"][0]["pairs"] == 3  # in both orders; the seventh call waits
        assert run(files, *at(stub)) == 0
    assert stub.calls == 24


def test_a_dry_run_sends_and_writes_nothing(files, capsys):
    with serve(honest) as stub:
        assert run(files, *at(stub, "--num-prompts", "2")) == 0
        calls = stub.calls
        capsys.readouterr()
        judges = at(stub, "--judge", "gold", "--judge", "rm:nowhere", "--price", "1", "2")
        assert run(files, *judges, "--dry-run") == 0
    printed = capsys.readouterr().out
    assert stub.calls == calls
    assert f"openai:m@{stub.url}: 20 requests, 4 in the cache, 0 ties" in printed
    assert "dollars" in printed
    assert "rm:nowhere: no requests" in printed


# Mistakes


@pytest.mark.parametrize(
    ("more", "status", "line"),
    [
        ([], 2, "--judge"),
        (["--judge", "gpt-4o"], 2, "--judge gpt-4o: expected openai:MODEL[@BASE_URL], rm:MODEL"),
        (["--judge", "openia:m"], 2, "did you mean 'openai'?"),
        (["--judge", "rm:"], 2, "--judge rm:: expected"),
        (["--judge", "gold", "--judge", "gold"], 2, "--judge: expected different judges"),
        (["--judge", "gold", "--num-prompts", "0"], 2, "--num-prompts: expected at least 1"),
        (["--judge", "gold", "--concurrency", "0"], 2, "--concurrency: expected at least 1"),
        (["--judge", "gold", "--timeout", "0"], 2, "--timeout: expected more than 0"),
        (["--judge", "gold", "--temperature", "warm"], 2, "--temperature: expected"),
        (["--judge", "gold", "--max-usd", "1"], 2, "--max-usd needs --price IN OUT"),
        (["--judge", "gold", "--price", "1"], 2, "--price: expected two numbers"),
        (["--judge", "gold", "--task", "hh"], 2, "--task: expected 'tldr' or 'hh_rlhf'"),
        (["--judge", "openai:gpt-4o"], 1, "no key: set the environment variable OPENAI_API_KEY"),
        (["--judge", "openai:m@localhost:1"], 1, "is no address of a server"),
        (["--judge", "openai:m@http://127.0.0.1:9/v1"], 1, "cannot reach http://127.0.0.1:9/v1"),
        (["--judge", "human:missing.jsonl"], 1, "missing.jsonl"),
        (["--judge", "gold", "--a", "missing.jsonl"], 1, "missing.jsonl"),
    ],
)
def test_mistakes_are_one_line(files, capsys, more, status, line):
    assert run(files, *more) == status
    assert line in error_line(capsys)


def test_the_temperature_may_be_the_servers_own(files):
    with serve(honest) as stub:
        assert run(files, *at(stub, "--num-prompts", "1", "--temperature", "null")) == 0
    assert not any("temperature" in request for request in stub.requests)


def test_the_folder_of_another_comparison_is_refused(files, tmp_path, capsys):
    assert run(files, "--judge", "gold") == 0
    files.b = write(tmp_path / "c.jsonl", [row(n, GOOD, reference=FACTS) for n in range(12)])
    assert run(files, "--judge", "gold") == 1
    assert "holds another comparison (b is" in capsys.readouterr().err
    assert run(files, "--judge", "gold", "--overwrite") == 0


def test_without_a_folder_nothing_is_judged(files, capsys):
    arguments = ["win-rate", "--a", str(files.a), "--b", str(files.b), "--judge", "gold"]
    assert win_rate.main(arguments) == 2
    assert "--out is missing" in capsys.readouterr().err
