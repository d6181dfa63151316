import subprocess
import sys
from dataclasses import replace

import pytest

from lightning_marlhf.commands import report
from lightning_marlhf.commands.report import gather
from lightning_marlhf.files import write_text
from lightning_marlhf.records import Completion, write_jsonl


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
    assert gather([ppo, ma / "seed-2", ma / "seed-1"]) == {
        ppo: {1: ppo / "seed-1", 2: ppo / "seed-2"},
        ma: {2: ma / "seed-2", 1: ma / "seed-1"},
    }
    assert gather([runs / "sft"]) == {runs / "sft": {1: runs / "sft"}}


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
    assert {path.name for path in (out / "report").glob("*.svg")} >= {
        "curve-gold.svg",
        "losses.svg",
    }


def test_labels_name_the_rows_in_their_order(runs, capsys):
    out = ("--out", runs / "report")
    assert call(runs / "ppo", runs / "ma", "--label", "PPO", "--label", "MA-PPO", *out) == 0
    assert "MA-PPO" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["ppoo"], "did you mean 'ppo'?"),
        (["."], "holds no run: expected done.json"),
        (["ppo", "ppo/seed-1"], "is named twice"),
        (["ppo", "ma", "--label", "x"], "--label: expected 2 different names"),
        (["ppo", "--out", "sft/metrics.csv"], "expected a folder"),
    ],
)
def test_a_mistake_is_one_line(runs, monkeypatch, capsys, words, said):
    monkeypatch.chdir(runs)
    assert call(*words) == 1
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_neither_torch_nor_lightning_is_imported(runs):
    program = (
        "import sys; from lightning_marlhf.__main__ import main; "
        f"status = main(['report', {str(runs / 'ppo')!r}, '--out', {str(runs / 'out')!r}]); "
        "sys.exit(status or sorted({'torch', 'lightning', 'transformers'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_label_with_slashes_names_a_file_of_its_picture(runs, tmp_path):
    trace = {"tokens": ["a"], "macro_index": [0]}
    trace |= {name: [0.5] for name in ("values", "rewards", "advantages", "kl")}
    rows = [replace(completion(n, n), trace=trace) for n in range(4)]
    write_jsonl(runs / "ppo/seed-1/completions/test.jsonl", rows)
    assert call(runs / "ppo", "--label", "a/b: c", "--out", tmp_path / "out") == 0
    assert (tmp_path / "out/report/trace-a-b-c.png").is_file()
