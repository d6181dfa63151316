import re

import pytest

from lightning_marlhf.files import write_json
from lightning_marlhf.records import write_jsonl
from lightning_marlhf.reporting import build_report

SECTIONS = [
    "Results",
    "Difference to PPO (n = 1)",
    "Difference to SFT",
    "Reward model",
    "Training curves",
    "Score against KL",
    "Updates until parity",
    "Training diagnostics",
    "One response in macro actions",
    "Samples side by side",
    "What made this report",
]


def build(report, output, *seeds):
    return build_report(title="Tiny", report=report, output=output, seeds=seeds)


def test_a_whole_study_gives_every_section_and_no_note(fake_study, report_section):
    output = fake_study(seeds=(1, 2), posts=8)
    text = build(report_section, output, 1, 2)
    assert re.findall("^## (.*)$", text, re.M) == SECTIONS
    assert "**Note:**" not in text
    assert (output / "report.md").read_text(encoding="utf-8") == text
    html = (output / "report.html").read_text(encoding="utf-8")
    names = set(re.findall(r'src="report/(.*?)\.png"', text))
    assert len(names) == 9
    assert html.count("data:image/png;base64,") == 9
    for name in names:
        assert (output / f"report/{name}.png").read_bytes().startswith(b"\x89PNG")
        assert (output / f"report/{name}.svg").is_file()


def test_the_same_runs_give_the_same_bytes(fake_study, report_section):
    output = fake_study(posts=5)
    report_section["rows"] = report_section["rows"][:2]
    report_section["scores"] = {"gold": "Gold score"}
    written = []
    for _ in range(2):
        build(report_section, output, 1)
        files = [
            output / "report.md",
            output / "report.html",
            *sorted((output / "report").iterdir()),
        ]
        written.append({path.name: path.read_bytes() for path in files})
    assert written[0] == written[1]


def test_an_empty_folder_gives_a_report_that_says_so(tmp_path, report_section):
    text = build(report_section, tmp_path, 1)
    assert "MA-PPO (n = 10) (ma\\_ppo\\_fixed10, seed 1): not started." in text
    assert re.findall("^## (.*)$", text, re.M) == SECTIONS
    assert text.count("**Note:**") >= 12
    assert "<img" not in text


def test_one_seed_is_called_one_seed(tmp_path, report_section):
    note = "One seed: the intervals are over posts"
    assert note in build(report_section, tmp_path, 1)
    assert note not in build(report_section, tmp_path, 1, 2)


def test_an_unfinished_stage_is_named_and_the_rest_is_shown(fake_study, report_section):
    output = fake_study(posts=5)
    report_section["scores"] = {"gold": "Gold score"}
    folder = output / "ma_ppo_fixed10/seed-1"
    (folder / "done.json").unlink()
    (folder / "completions/test.jsonl").unlink()
    write_json(folder / "progress.json", {"status": "failed", "step": 9, "max_steps": 240})
    text = build(report_section, output, 1)
    assert "(ma\\_ppo\\_fixed10, seed 1): failed, update 9 of 240." in text
    assert "no answers to the held-out posts" in text
    assert "| MA-PPO (n = 10) | – |" in text  # noqa: RUF001
    assert "curve-gold" in text


def test_responses_cannot_break_out_of_the_report(
    tmp_path, report_section, make_completion, make_run
):
    attack = "```\n</pre><script>alert(1)</script>\n# headline"
    answers = [make_completion(f"<i>{n}", response=attack, prompt=attack) for n in range(3)]
    for row in report_section["rows"]:
        make_run(tmp_path / row["stage"] / "seed-1", answers=answers)
    write_jsonl(tmp_path / "ppo/seed-1/completions/test.jsonl", answers)
    text = build(report_section, tmp_path, 1)
    assert "<i>" not in text
    outside = re.sub(r"^(`{4,})text\n.*?^\1$", "", text, flags=re.M | re.S)
    assert "script" not in outside
    assert "# headline" not in outside
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "<script" not in html
    assert "<i>" not in html


def test_no_seeds_is_a_mistake(tmp_path, report_section):
    with pytest.raises(ValueError, match="at least one"):
        build(report_section, tmp_path)
