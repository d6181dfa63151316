"""Reports of plans of the paper, from made-up runs with numbers that can be worked out by hand."""

import pytest

from lightning_marlhf.display.blocks import Cell, Note, Pictures, Table
from lightning_marlhf.files import write_json
from lightning_marlhf.reporting import build_paper_report, paper_parity
from lightning_marlhf.reporting.evaluations import judge_label
from lightning_marlhf.reporting.paper import SHOWS, read_system

REPORTED = {
    "rm": {"ppo": {"value": 0.84, "confidence": "medium"}},
    "gain": {"ma": {"value": 68, "confidence": "high"}},
    "speedup": {"ma": {"value": [1.7, 2], "confidence": "high"}},
    "win_rate": {"human": {"value": 74, "confidence": "medium"}},
    "agreement": {"rm and human": {"value": [74, 76], "confidence": "medium"}},
    "pass_at_1_gain": {"all": {"value": 35, "confidence": "high"}},
}
ROW = {
    "system": "tldr/small",
    "label": "TL;DR, small",
    "runs": {"sft": "SFT", "ppo": "PPO", "ma": "MA-PPO"},
    "evaluations": ("wins", "best_of_n_ppo", "best_of_n_ma"),
    "report": {
        "scores": {"rm": "RM score", "rm_heldout": "Held-out RM score"},
        "baseline": "sft",
        "reference_run": "ppo",
    },
    "reported": REPORTED,
}
# rm score of a run's answers, by seed; each run answers two posts, 1 apart
MEANS = {"sft": (0.0, 0.0, 0.0), "ppo": (1.0, 2.0, 3.0), "ma": (2.0, 4.0, 3.0)}


@pytest.fixture
def output(tmp_path, make_run, make_completion):
    for stage, means in MEANS.items():
        for seed, mean in enumerate(means, start=1):
            answers = [
                make_completion(
                    str(n),
                    seed=seed,
                    scores={"rm": mean + n - 0.5, "rm_heldout": mean / 2 + n},
                )
                for n in range(2)
            ]
            curve = {step: mean * step / 40 for step in (10, 20, 30, 40)}
            metrics = {"objective/rm": curve, "objective/rm_heldout": curve}
            done = {"eval/pass_at_1": mean / 10, "eval/pass_at_1/interview": mean / 20}
            folder = tmp_path / f"tldr/small/{stage}/seed-{seed}"
            make_run(folder, answers=answers, metrics=metrics if stage != "sft" else {}, done=done)
    return tmp_path


def system_of(output, seeds=(1, 2, 3), **changes):
    return read_system({**ROW, **changes}, output=output, seeds=seeds)


def blocks(name, *systems):
    return list(SHOWS[name].make(systems))


def texts(row):
    return [f"{cell.value} {cell.detail}".strip() for cell in row]


def test_each_run_stands_beside_the_number_of_the_paper(output):
    (table,) = blocks("scores", system_of(output))
    sft, ppo, ma = map(texts, table.rows)
    # t(0.975, 2) = 4.303: PPO 2 +- 4.303 / sqrt(3) = 2.48; MA-PPO - PPO is 1, 2, 0: 1 +- 2.48
    assert sft[:4] == ["TL;DR, small", "SFT", "not found", "0.00 (0.00 to 0.00)"]
    assert ppo[1:4] == ["PPO", "0.84 (medium)", "2.00 (-0.48 to 4.48)"]
    assert ma[2:7] == [
        *("not found", "3.00 (0.52 to 5.48)", "68 % (high)", "+50 %", "+1.00 (-1.48 to 3.48)")
    ]
    assert ma[-1] == "3"
    assert table.header[-2] == "Held-out RM score"
    assert ma[-2].startswith("2.00")  # 3 / 2 + 0.5


def test_with_one_seed_the_interval_is_over_posts(output):
    (table,) = blocks("scores", system_of(output, seeds=(1,)))
    # two posts 1 apart: t(0.975, 1) = 12.706, standard error 0.5
    assert texts(table.rows[1])[3] == "1.00 (-5.35 to 7.35)"


def test_a_system_that_the_paper_lacks_has_a_dash_where_its_number_would_be(output):
    (table,) = blocks("scores", system_of(output, reported=None))
    assert {row[2].value for row in table.rows} == {"–"}  # noqa: RUF001


def test_parity_has_the_papers_speed_up_beside_ours_and_counts_seeds_that_never_get_there(output):
    (table,) = blocks("parity", system_of(output))
    # ends at 1, 2, 3; MA-PPO's curve is twice, twice and once as steep
    assert texts(table.rows[1]) == [
        *("TL;DR, small", "MA-PPO", "not found", "1.7 to 2.0 x (high)"),
        *("2.00 x (1.00 to 2.00)", "50 % (50 % to 100 %)", "0 of 3", "3"),
    ]
    assert "75 % for 3 seeds" in table.caption


def test_a_seed_that_never_gets_there_makes_the_speed_up_open(output, make_run):
    folder = output / "tldr/small/ma/seed-3"
    make_run(folder, metrics={"objective/rm": {10: 0.0, 40: 2.9}}, done={})
    (table,) = blocks("parity", system_of(output))
    assert paper_parity._speed_up([float("inf")]) == Cell("less than 1 x")
    assert texts(table.rows[1])[4:7] == [
        *("2.00 x (less than 1 to 2.00)", "50 % (50 % to not reached)", "1 of 3")
    ]


def test_pass_at_k_is_shown_by_difficulty_with_the_papers_gain(output):
    table, *_ = blocks("pass_at_k", system_of(output))
    found = [texts(row) for row in table.rows]
    ma = next(row for row in found if row[1:4] == ["all", "MA-PPO", "pass@1"])
    assert ma[5].startswith("30.0 (")
    assert ma[6:8] == ["35 % (high)", "+50 %"]
    interview = next(row for row in found if row[1:4] == ["interview", "MA-PPO", "pass@1"])
    assert interview[6] == "not found"


def rate(judge, wins):
    ends = {"low": 0.4, "high": 0.9, "length_controlled_low": 0.4, "length_controlled_high": 0.8}
    rates = {"win_rate": wins / 10, "length_controlled": 0.6, "longer_wins": 0.5}
    counts = {"wins": wins, "ties": 0, "losses": 10 - wins, "invalid": 0}
    return {"judge": judge, **counts, **rates, **ends}


def test_win_rates_are_told_by_judge_over_seeds_with_their_agreement(output):
    for seed, wins in ((1, 6), (2, 8)):
        judge = f"rm:runs/reward_model/seed-{seed}/export"
        human = "human:annotations.jsonl"
        agreement = {"first": judge, "second": human, "pairs": 10, "kappa": 0.5}
        result = {
            "judges": [rate(judge, wins), rate(human, wins)],
            "agreement": [{**agreement, "raw": 0.7, "low": 0.5, "high": 0.9}],
        }
        write_json(output / f"tldr/small/wins/seed-{seed}/win_rate.json", result)
    rates, agreements = blocks("win_rates", system_of(output))
    rows = [texts(row) for row in rates.rows]
    assert [row[1] for row in rows] == ["rm: reward_model", "human: annotations.jsonl", "gpt-4"]
    # 60 and 80 %: 70 +- 12.706 * 10, which no share can be
    assert rows[1][2:4] == ["74 (medium)", "70.0 (0.0 to 100.0)"]
    assert rows[1][6:] == ["14 / 0 / 6", "0", "2"]
    assert rows[2][2] == "not found"  # a judge that has not judged yet
    assert texts(agreements.rows[0])[2] == "74 to 76 (medium)"


def test_a_judge_is_named_without_folder_and_seed():
    assert judge_label("gold") == "gold"
    assert judge_label("rm:some/judge/seed-3") == "rm: judge"


def test_best_of_n_has_a_line_for_each_run_temperature_and_n(output):
    for run, gain in (("ppo", 0.0), ("ma", 1.0)):
        points = [
            {
                "temperature": 1.0,
                "n": n,
                "kl_bound": 0.1,
                "scores": {
                    "rm": {"mean": n + gain, "low": n + gain - 0.5, "high": n + gain + 0.5},
                    "held_out": {"mean": 0.5 * n, "low": 0.0, "high": 1.0},
                },
            }
            for n in (1, 2, 4)
        ]
        found = {"model": run, "chooser": "rm", "scorers": {}, "num_prompts": 9, "num_samples": 4}
        path = output / f"tldr/small/best_of_n_{run}/seed-1/best_of_n.json"
        write_json(path, {**found, "points": points})
    table, pictures = blocks("best_of_n", system_of(output, seeds=(1,)))
    assert texts(table.rows[-1])[1:6] == ["MA-PPO", "1", "4", "not found", "5.00 (4.50 to 5.50)"]
    assert isinstance(pictures, Pictures)


@pytest.mark.parametrize("name", list(SHOWS))
def test_before_anything_has_run_there_are_notes_and_no_error(tmp_path, name):
    found = blocks(name, system_of(tmp_path))
    assert all(
        isinstance(block, Note | Table) or name in ("curves", "details") for block in found[1:]
    )


def test_a_report_holds_markdown_html_latex_and_pictures_and_names_what_is_missing(output):
    shows = ("scores", "score_picture", "curves", "optimisation", "distributions", "details")
    folder = output / "paper/table"
    text = build_paper_report(
        title="A table", rows=[ROW], shows=shows, output=output, folder=folder, seeds=(1, 2, 3, 4)
    )
    assert "PPO (ppo, seed 4): not started." in text
    assert (folder / "report.md").read_text() == text
    assert "0.84 {\\scriptsize (medium)}" in (folder / "report/scores.tex").read_text()
    names = ("scores", "optimisation-tldr-small", "distributions-tldr-small", "curve-rm-tldr-small")
    for name in names:
        assert (folder / f"report/{name}.png").stat().st_size > 1000
        assert (folder / f"report/{name}.svg").is_file()
        assert f'src="report/{name}.png"' in text
