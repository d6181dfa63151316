"""One plan of the paper end to end, on the tiny task at its quick size: real runs, a table, pictures."""

from pathlib import Path

import pytest

from lightning_marlhf.commands import reproduce

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_table_2_comes_out_of_real_runs_and_a_second_plan_reuses_them(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    options = ("--systems", "tiny", "--quick", "--output", str(tmp_path))
    assert reproduce.main(["reproduce", "experiments/paper/table2_rm_scores.yaml", *options]) == 0
    folder = tmp_path / "paper/table2_rm_scores"
    table = (folder / "report/scores.tex").read_text()
    assert "Held-out RM score & Gold score" in table
    assert "MA-PPO (n = 5)" in table
    notes = [line for line in (folder / "report.md").read_text().splitlines() if "Note:" in line]
    assert ["Smoke run" in notes[0], "One seed" in notes[1], len(notes)] == [True, True, 2]
    assert {"scores.png", "overoptimization-tldr.png"} <= {p.name for p in (folder / "report").iterdir()}
    capsys.readouterr()
    assert reproduce.main(["reproduce", "experiments/paper/rm_distributions.yaml", *options]) == 0
    assert "done in" not in capsys.readouterr().out
