"""Reports of plans of the paper, from made-up runs with numbers that can be worked out by hand."""

from dataclasses import replace

import pytest

from lightning_marlhf.display.document import Cell, Note, Pictures, Table
from lightning_marlhf.files import read_json, write_json, write_text
from lightning_marlhf.reporting.load import load_system
from lightning_marlhf.reporting.parity import speed_up_cell
from lightning_marlhf.reporting.report import SECTIONS, build_report
from lightning_marlhf.reporting.spec import ReportedNumber, ReportRow, ReportSpec, SystemReport
from lightning_marlhf.reporting.win_rates import judge_label


def reported(value, confidence="medium"):
    return ReportedNumber(value=value, confidence=confidence)


SPEC = SystemReport(
    name="tldr/small",
    label="TL;DR, small",
    rows=[
        ReportRow(stage="sft", label="SFT"),
        ReportRow(stage="ppo", label="PPO"),
        ReportRow(stage="ma", label="MA-PPO"),
    ],
    scores={"rm": "RM score", "rm_heldout": "Held-out RM score"},
    baseline="sft",
    reference_run="ppo",
    evaluations=["wins", "best_of_n_ppo", "best_of_n_ma"],
    reported={
        "rm": {"ppo": reported(0.84)},
        "gain": {"ma": reported(68, "high")},
        "speedup": {"ma": reported((1.7, 2), "high")},
        "win_rate": {"human": reported(74)},
        "agreement": {"rm and human": reported((74, 76))},
        "pass_at_1_gain": {"all": reported(35, "high")},
    },
)
# rm score of a run's responses, by seed; each run responds to two prompts, 1 apart
MEANS = {"sft": (0.0, 0.0, 0.0), "ppo": (1.0, 2.0, 3.0), "ma": (2.0, 4.0, 3.0)}


@pytest.fixture
def output(tmp_path, make_run, make_completion):
    for stage, means in MEANS.items():
        for seed, mean in enumerate(means, start=1):
            responses = [
                make_completion(str(n), seed=seed, scores={"rm": mean + n - 0.5, "rm_heldout": mean / 2 + n})
                for n in range(2)
            ]
            curve = {step: mean * step / 40 for step in (10, 20, 30, 40)}
            metrics = {"objective/rm": curve, "objective/rm_heldout": curve}
            done = {"eval/pass_at_1": mean / 10, "eval/pass_at_1/interview": mean / 20}
            folder = tmp_path / f"tldr/small/{stage}/seed-{seed}"
            make_run(folder, responses=responses, metrics=metrics if stage != "sft" else {}, done=done)
    return tmp_path


def blocks(name, output, seeds=(1, 2, 3), **changes):
    system = load_system(replace(SPEC, **changes), output=output, seeds=seeds)
    _, make = SECTIONS[name]
    return list(make([system]))


def rows(table):
    """Return each line as column -> text."""
    return [dict(zip(table.header, texts(row), strict=True)) for row in table.rows]


def texts(row):
    return [f"{cell.value} {cell.detail}".strip() for cell in row]


def scores(*arguments, **changes):
    (table,) = [b for b in blocks("scores", *arguments, **changes) if getattr(b, "name", "")]
    return rows(table)


def test_each_run_stands_beside_the_number_of_the_paper(output):
    sft, ppo, ma = scores(output)
    # t(0.975, 2) = 4.303: PPO 2 +- 4.303 / sqrt(3) = 2.48; MA-PPO - PPO is 1, 2, 0: 1 +- 2.48
    assert (sft["System"], sft["Run"]) == ("TL;DR, small", "SFT")
    assert (sft["Paper: RM score"], sft["RM score"]) == ("not found", "0.00 (0.00 to 0.00)")
    assert (ppo["Paper: RM score"], ppo["RM score"]) == ("0.84 (medium)", "2.00 (-0.48 to 4.48)")
    assert ma["RM score"] == "3.00 (0.52 to 5.48)"
    assert (ma["Paper: gain"], ma["Gain"]) == ("68 % (high)", "+50 %")
    assert (ma["Difference"], ma["Seeds"]) == ("+1.00 (-1.48 to 3.48)", "3")
    assert ma["Held-out RM score"].startswith("2.00")  # 3 / 2 + 0.5


def test_with_one_seed_the_interval_is_over_prompts(output):
    # two prompts 1 apart: t(0.975, 1) = 12.706, standard error 0.5
    assert scores(output, seeds=(1,))[1]["RM score"] == "1.00 (-5.35 to 7.35)"


def test_the_paper_s_numbers_stand_there_before_anything_has_run(tmp_path):
    assert scores(tmp_path)[1]["Paper: RM score"] == "0.84 (medium)"


def test_without_a_system_of_the_paper_its_columns_are_not_there(output):
    assert not any("Paper" in title for title in scores(output, reported=None)[0])


def test_parity_has_the_papers_speed_up_beside_ours_and_counts_seeds_that_never_get_there(output):
    (table,) = blocks("parity", output)
    # ends at 1, 2, 3; MA-PPO's curve is twice, twice and once as steep
    line = next(r for r in rows(table) if (r["Score"], r["Run"]) == ("RM score", "MA-PPO"))
    assert (line["Paper: rollouts"], line["Paper: speed-up"]) == ("not found", "1.7 to 2.0 x (high)")
    assert line["Speed-up"] == "2.00 x (1.00 to 2.00)"
    assert (line["Fraction of PPO's updates"], line["Never"]) == ("50 % (50 % to 100 %)", "0 of 3")
    assert "75 % for 3 seeds" in table.caption


def test_a_seed_that_never_gets_there_makes_the_speed_up_open(output, make_run):
    folder = output / "tldr/small/ma/seed-3"
    make_run(folder, metrics={"objective/rm": {10: 0.0, 40: 2.9}}, done={})
    (table,) = blocks("parity", output)
    line = next(r for r in rows(table) if (r["Score"], r["Run"]) == ("RM score", "MA-PPO"))
    assert line["Speed-up"] == "2.00 x (less than 1 to 2.00)"
    assert (line["Fraction of PPO's updates"], line["Never"]) == ("50 % (50 % to not reached)", "1 of 3")
    assert speed_up_cell([float("inf")]) == Cell("less than 1 x")


def test_pass_at_k_is_shown_by_difficulty_with_the_papers_gain(output):
    for folder in (output / "tldr/small").glob("*/seed-*"):
        done = read_json(folder / "done.json")
        done["metrics"]["eval/pass_at_1/competition"] = 0.0
        write_json(folder / "done.json", done)
    table = blocks("pass_at_k", output)[0]
    found = {(r["Difficulty"], r["Run"], r["Measure"]): r for r in rows(table)}
    ma = found["all", "MA-PPO", "pass@1"]
    assert ma["Ours (%)"].startswith("30.0 (")
    assert (ma["Paper: gain"], ma["Gain"]) == ("35 % (high)", "+50 %")
    assert found["interview", "MA-PPO", "pass@1"]["Paper: gain"] == "not found"


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
    rates, agreements = blocks("win_rates", output)
    found = {r["Judge"]: r for r in rows(rates)}
    assert list(found) == ["rm: reward_model", "human: annotations.jsonl", "gpt-4"]
    human = found["human: annotations.jsonl"]
    # 60 and 80 %: 70 +- 12.706 * 10, which no share can be
    assert (human["Paper (%)"], human["Win rate (%)"]) == ("74 (medium)", "70.0 (0.0 to 100.0)")
    assert (human["Wins / ties / losses"], human["Invalid"], human["Seeds"]) == ("14 / 0 / 6", "0", "2")
    assert found["gpt-4"]["Paper (%)"] == "not found"  # a judge that has not judged yet
    assert rows(agreements)[0]["Paper (%)"] == "74 to 76 (medium)"


@pytest.mark.parametrize("content", ["{", "[]", '{"judges": 1}', '{"points": [{}], "judges": [{}]}'])
def test_damaged_results_of_evaluations_are_named(output, content):
    for stage, name in (("wins", "win_rate.json"), ("best_of_n_ma", "best_of_n.json")):
        write_text(output / f"tldr/small/{stage}/seed-1/{name}", content)
    spec = ReportSpec(systems=[SPEC], sections=["win_rates", "best_of_n"])
    build_report(spec, title="t", output=output, folder=output / "out", seeds=(1,))
    text = (output / "out/report.md").read_text()
    assert text.count("could not read win\\_rate.json") == 1
    assert text.count("could not read best\\_of\\_n.json") == 1


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
    table, pictures = blocks("best_of_n", output, seeds=(1,))
    assert texts(table.rows[-1])[1:6] == ["MA-PPO", "1", "4", "not found", "5.00 (4.50 to 5.50)"]
    assert isinstance(pictures, Pictures)


@pytest.mark.parametrize("name", list(SECTIONS))
def test_before_anything_has_run_there_are_notes_and_no_error(tmp_path, name):
    assert all(isinstance(block, Note | Table) for block in blocks(name, tmp_path))


def test_a_report_holds_markdown_html_latex_and_pictures_and_names_what_is_missing(output):
    sections = ("scores", "score_picture", "curves", "overoptimization", "distributions", "details")
    folder = output / "paper/table"
    spec = ReportSpec(systems=[SPEC], sections=sections)
    build_report(spec, title="A table", output=output, folder=folder, seeds=(1, 2, 3, 4))
    text = (folder / "report.md").read_text()
    assert "PPO (ppo, seed 4): not started." in text
    assert "0.84 {\\scriptsize (medium)}" in (folder / "report/scores.tex").read_text()
    for name in (*("scores", "overoptimization-tldr-small", "distributions-tldr-small", "curve-rm-tldr-small"),):
        assert (folder / f"report/{name}.png").stat().st_size > 1000
        assert (folder / f"report/{name}.svg").is_file()
        assert f'src="report/{name}.png"' in text
