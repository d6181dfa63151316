from dataclasses import replace

import pytest

from lightning_marlhf.display.document import Cell, cells
from lightning_marlhf.reporting.load import load_system
from lightning_marlhf.reporting.scores import (
    difference_table,
    differences,
    findings,
    reward_model,
    score_table,
    scores,
    seed_difference_table,
    seed_table,
)
from lightning_marlhf.reporting.spec import ReportRow, SystemReport

SPEC = SystemReport(
    rows=[ReportRow(stage="sft"), ReportRow(stage="ppo"), ReportRow(stage="ma")],
    scores={"gold": "Gold"},
    baseline="sft",
    reference_run="ppo",
    reward_model="reward_model",
)
# Gold scores of prompts a, b, c by stage and seed.
GOLD = {
    ("sft", 1): (1.0, 1.0, 1.0),
    ("ppo", 1): (1.0, 2.0, 3.0),
    ("ma", 1): (2.0, 2.0, 5.0),
    ("sft", 2): (0.0, 1.0, 2.0),
    ("ppo", 2): (2.0, 3.0, 4.0),
    ("ma", 2): (5.0, 5.0, 5.0),
}


@pytest.fixture
def study(tmp_path, make_completion, make_run):
    def load(*seeds):
        for (stage, seed), golds in GOLD.items():
            responses = [
                make_completion(prompt, scores={"gold": score}, num_tokens=10 * n, kl=1.0, ended=n > 1)
                for n, (prompt, score) in enumerate(zip("abc", golds, strict=True), start=1)
            ]
            if stage == "ma":
                responses = responses[::-1]
            make_run(tmp_path / stage / f"seed-{seed}", responses=responses, done={})
        return load_system(SPEC, output=tmp_path, seeds=seeds)

    return load


def test_one_seed_shows_mean_and_interval_over_prompts(study):
    table = score_table([study(1)])
    assert table.header == (
        "Run", "Prompts", "Gold", "KL (nats)", "Length (tokens)", "Ended (%)",
    )  # fmt: skip
    # t(0.975, 2) = 4.302653; PPO gold 1, 2, 3: 2 +- 2.484138; length 10, 20, 30: 20 +- 24.84138;
    # two of three ended
    assert table.rows[1] == (
        Cell("ppo"),
        Cell("3"),
        Cell("2.00", "(-0.48 to 4.48)"),
        Cell("1.00", "(1.00 to 1.00)"),
        Cell("20.0", "(-4.8 to 44.8)"),
        Cell("67"),
    )


def test_several_seeds_show_mean_and_spread_of_the_seeds_means(study):
    table = score_table([study(1, 2)])
    assert table.header[:4] == ("Run", "Prompts", "Seeds", "Gold")
    # PPO: means 2 and 3, sd 1 / sqrt(2) = 0.7071; MA: means 3 and 5, sd sqrt(2)
    assert table.rows[1][:4] == (*cells("ppo", "3", "2"), Cell("2.50", "± 0.71"))
    assert table.rows[2][3] == Cell("4.00", "± 1.41")


def test_every_seed_has_its_own_line(study):
    rows = seed_table([study(1, 2)]).rows
    assert [(row[0].value, row[1].value) for row in rows[2:4]] == [("ppo", "1"), ("ppo", "2")]
    assert rows[3][2] == Cell("3.00", "(0.52 to 5.48)")


def test_differences_are_paired_by_prompt(study):
    table = difference_table(study(1), "ppo")
    assert [row[0].value for row in table.rows] == ["sft", "ma"]
    # MA - PPO: 1, 0, 2 on a, b, c: 1 +- 2.484138 (unpaired, the interval would be wider)
    assert table.rows[1][:3] == (*cells("ma", "3"), Cell("+1.00", "(-1.48 to 3.48)"))
    # SFT - PPO: 0, -1, -2
    assert table.rows[0][2] == Cell("-1.00", "(-3.48 to 1.48)")


def test_with_several_seeds_a_prompt_s_difference_is_its_mean_over_them(study):
    table = difference_table(study(1, 2), "ppo")
    # MA - PPO: seed 1: 1, 0, 2; seed 2: 3, 2, 1; per prompt 2, 1, 1.5: mean 1.5, sd 0.5
    assert table.rows[1][1:3] == (Cell("3"), Cell("+1.50", "(0.26 to 2.74)"))


def test_over_seeds_each_seed_counts_once(study):
    table = seed_difference_table(study(1, 2), "ppo")
    # MA - PPO: 1 and 2: mean 1.5, sd 0.7071, t(0.975, 1) = 12.7062, half 12.7062 * 0.5 = 6.3531
    assert table.rows[1] == (*cells("Gold", "ma"), Cell("+1.50", "± 0.71"), *cells("(-4.85 to 7.85)", "+1.00", "+2.00"))


def test_a_seed_that_the_other_row_lacks_is_left_out(tmp_path, study):
    study(1, 2)
    (tmp_path / "ppo/seed-2/completions/test.jsonl").unlink()
    loaded = load_system(SPEC, output=tmp_path, seeds=[1, 2])
    assert difference_table(loaded, "ppo").rows[1][2] == Cell("+1.00", "(-1.48 to 3.48)")
    assert seed_difference_table(loaded, "ppo").rows[1][4:] == cells("+1.00", "–")  # noqa: RUF001


def test_a_row_without_responses_keeps_its_line(tmp_path, study, make_run):
    loaded = study(1)
    (tmp_path / "ma/seed-1/completions/test.jsonl").unlink()
    loaded = load_system(SPEC, output=tmp_path, seeds=[1])
    assert score_table([loaded]).rows[2] == cells("ma", *["–"] * 5)  # noqa: RUF001
    assert difference_table(loaded, "ppo").rows[1][1] == Cell("–")  # noqa: RUF001


def test_the_reward_model_is_compared_with_the_best_possible(tmp_path, make_run):
    metrics = {"eval/accuracy": 0.72, "eval/best_possible_accuracy": 0.8}
    make_run(tmp_path / "reward_model/seed-1", done=metrics)
    make_run(tmp_path / "reward_model/seed-2", done={"eval/accuracy": 0.7})
    study = load_system(SPEC, output=tmp_path, seeds=[1, 2, 3])
    (table,) = reward_model([study])
    assert table.rows[0] == cells("1", "0.720", "0.800", "0.900")
    assert table.rows[1] == cells("2", "0.700", "–", "–")  # noqa: RUF001
    assert reward_model([load_system(replace(SPEC, reward_model=None), output=tmp_path, seeds=[1])]) == []


def test_findings_are_differences_in_sentences(study):
    # PPO - SFT on a, b, c: 0, 1, 2: 1 +- 2.484138; MA - SFT: 1, 1, 4: 2 +- 4.303 * 1
    assert findings(study(1)) == [
        "ppo: Gold +1.00 against sft (95 % interval -1.48 to 3.48 over 3 prompts, which includes 0).",
        "ma: Gold +2.00 against sft (95 % interval -2.30 to 6.30 over 3 prompts, which includes 0); "
        "+1.00 against ppo (95 % interval -1.48 to 3.48 over 3 prompts, which includes 0).",
    ]
    assert "over 2 seeds" in findings(study(1, 2))[0]


def test_of_one_run_there_is_nothing_to_compare(study):
    rows = [ReportRow(stage="ppo")]
    alone = replace(study(1), spec=SystemReport(rows=rows, scores={"gold": "G"}, reference_run="ppo"))
    assert differences([alone]) == []
    assert findings(alone) == []
    assert len(score_table([alone]).rows) == 1


def test_runs_that_were_never_tested_are_called_so(tmp_path):
    (note,) = scores([load_system(SPEC, output=tmp_path, seeds=[1])])
    assert "None of these runs has been tested" in note.text
