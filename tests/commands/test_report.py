import re
import subprocess
import sys
from dataclasses import replace

import pytest

from lightning_marlhf.commands import report
from lightning_marlhf.files import write_text
from lightning_marlhf.records import Completion, write_jsonl
from lightning_marlhf.reporting.runs import find_runs
from tests.commands.one_line import error_line


def completion(number: int, score: float) -> Completion:
    return Completion(
        sample_id=str(number),
        prompt=f"post {number}",
        response="<b>a summary</b>",
        model="m",
        seed=1,
        step=4,
        num_tokens=5,
        ended=True,
        scores={"gold": score, "rm": score / 2},
        kl=1.0,
    )


@pytest.fixture
def runs(tmp_path):
    """Two rows of two seeds, and a run without a seed's folder."""
    for name, gain in (("ppo/seed-1", 0), ("ppo/seed-2", 0), ("ma/seed-1", 1), ("ma/seed-2", 2)):
        folder = tmp_path / name
        write_jsonl(folder / "completions/test.jsonl", [completion(n, n + gain) for n in range(4)])
        rows = [f"{4 * n},objective/{s},{n + gain},1" for n in range(1, 9) for s in ("gold", "rm")]
        write_text(folder / "metrics.csv", "\n".join(["step,name,value,seconds", *rows]) + "\n")
        write_text(folder / "done.json", '{"command": "fit", "step": 32, "seconds": 1.0}')
    write_text(tmp_path / "sft/metrics.csv", "step,name,value,seconds\n1,loss/sft,2.0,1\n")
    return tmp_path


def call(*words) -> int:
    return report.main(["report", *map(str, words)])


def test_seeds_of_one_run_are_one_row_however_they_are_named(runs):
    ppo, ma = runs / "ppo", runs / "ma"
    assert find_runs([ppo, ma / "seed-2", ma / "seed-1"]) == {
        ppo: {1: ppo / "seed-1", 2: ppo / "seed-2"},
        ma: {2: ma / "seed-2", 1: ma / "seed-1"},
    }
    assert find_runs([runs / "sft"]) == {runs / "sft": {1: runs / "sft"}}


def test_the_report_is_one_page_that_loads_nothing_and_shows_no_markup_of_a_response(runs, capsys):
    out = runs / "report"
    assert call(runs / "ppo", runs / "ma", runs / "sft", "--out", out) == 0
    printed = capsys.readouterr().out
    # gold of ma: 1.5 + 1 and 1.5 + 2, so 3.00 with a standard deviation of 0.71 over seeds
    assert ["ma", "4", "2", "1.50", "±", "0.35", "3.00", "±", "0.71"] in [
        line.split()[:9] for line in printed.splitlines()
    ]
    page = (out / "report.html").read_text()
    assert "http" not in page.replace("http-equiv", "")
    assert "<b>a summary" not in page
    assert "Difference to ppo" in page
    assert {path.name for path in (out / "report").glob("*.svg")} >= {"curve-gold.svg", "losses.svg"}


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["ppoo"], 1, "did you mean 'ppo'?"),
        (["."], 1, "holds no run: expected done.json"),
        (["ppo", "ppo/seed-1"], 1, "is named twice"),
        (["ppo", "ma", "--label", "x"], 1, "--label: expected 2 different names"),
        (["ppo", "ma", "--label", "x", "--label", "x"], 1, "--label: expected 2 different names"),
        (["ppo", "--out", "sft/metrics.csv"], 1, "expected a folder"),
        (["ppo", "--lable", "x"], 2, "--lable: no such option"),
        ([], 2, "runs: expected"),
    ],
)
def test_a_mistake_is_one_line(runs, monkeypatch, capsys, words, status, said):
    monkeypatch.chdir(runs)
    assert call(*words) == status
    assert said in error_line(capsys)


def test_one_run_has_a_report_without_importing_torch_or_lightning(runs):
    program = (
        "import sys; from lightning_marlhf.__main__ import main; "
        f"status = main(['report', {str(runs / 'ma/seed-1')!r}, '--out', {str(runs / 'out')!r}]); "
        "sys.exit(status or sorted({'torch', 'lightning', 'transformers'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "2.50" in done.stdout  # gold of 1, 2, 3, 4
    assert "Differen" not in (runs / "out/report.md").read_text()


def test_labels_name_the_rows_and_pictures_even_if_no_file_may_have_them(runs, tmp_path, capsys):
    trace = {"tokens": ["a"], "macro_index": [0]}
    trace |= {name: [0.5] for name in ("values", "rewards", "advantages", "kl")}
    rows = [replace(completion(n, n), trace=trace) for n in range(4)]
    for name in ("ppo", "ma"):
        write_jsonl(runs / f"{name}/seed-1/completions/test.jsonl", rows)
    out = tmp_path / "out"
    assert call(runs / "ppo", runs / "ma", "--label", "a/b", "--label", "a b", "--out", out) == 0
    assert {"a/b", "a b"} == set(re.findall(r"\ba.b\b", capsys.readouterr().out))
    assert {path.name for path in (out / "report").glob("trace-*.png")} == {"trace-a-b.png", "trace-a-b-2.png"}


def test_a_run_that_was_never_tested_shows_what_it_logged_and_is_called_so(runs, capsys):
    out = runs / "out"
    assert call(runs / "sft", "--out", out) == 0
    printed = capsys.readouterr().out
    assert "None of these runs has been tested" in printed
    assert ["loss/sft", "2", "(1)"] in [line.split() for line in printed.splitlines()]
    assert (out / "report/losses.png").is_file()

    (runs / "ppo/seed-1/completions/test.jsonl").unlink()
    assert call(runs / "ppo/seed-1", "--out", out) == 0
    assert "objective/gold" in capsys.readouterr().out
    assert {"curve-gold.png", "curve-rm.png"} <= {p.name for p in (out / "report").iterdir()}
