import re
from dataclasses import replace

import pytest

from lightning_marlhf.display.document import Picture, Pictures, Section
from lightning_marlhf.files import write_json
from lightning_marlhf.reporting.report import SECTIONS, build_report, name_pictures
from lightning_marlhf.reporting.spec import DEFAULT_SECTIONS, SMOKE_RUN, ReportSpec


def build(spec, output, *seeds, note="", sections=DEFAULT_SECTIONS):
    report = ReportSpec(systems=[spec], note=note, sections=sections)
    build_report(report, title="Tiny", output=output, folder=output, seeds=seeds)
    return (output / "report.md").read_text(encoding="utf-8")


def titles(text):
    return re.findall("^## (.*)$", text, re.M)


def test_a_whole_study_gives_every_section_and_no_note(fake_study, report_section):
    output = fake_study(seeds=(1, 2), prompts=8)
    text = build(report_section, output, 1, 2)
    shown = [SECTIONS[name][0] for name in DEFAULT_SECTIONS if name != "pass_at_k"]
    assert titles(text) == [*shown, "Provenance"]
    assert "**Note:**" not in text
    html = (output / "report.html").read_text(encoding="utf-8")
    names = set(re.findall(r'src="report/(.*?)\.png"', text))
    assert len(names) == 9
    assert html.count("data:image/png;base64,") == 9
    for name in names:
        assert (output / f"report/{name}.png").read_bytes().startswith(b"\x89PNG")
        assert (output / f"report/{name}.svg").is_file()


def test_the_same_runs_give_the_same_bytes(fake_study, report_section):
    output = fake_study(prompts=5)
    small = replace(report_section, rows=report_section.rows[:2], scores={"gold": "Gold score"})
    written = []
    for _ in range(2):
        build(small, output, 1, sections=("scores", "curves", "traces"))
        files = (output / "report.md", output / "report.html", *(output / "report").iterdir())
        written.append({path.name: path.read_bytes() for path in files})
    assert written[0] == written[1]


def test_an_empty_folder_gives_a_report_that_says_so(tmp_path, report_section):
    text = build(report_section, tmp_path, 1)
    assert "MA-PPO (n = 10) (ma\\_ppo\\_fixed10, seed 1): not started." in text
    assert titles(text) == ["Results", "Missing results", "Provenance"]
    assert text.count("**Note:**") >= 12
    assert "<img" not in text


def test_one_seed_is_called_one_seed(fake_study, report_section):
    output = fake_study(seeds=(1, 2), prompts=3)
    note = "One seed: the intervals are over prompts"
    assert note in build(report_section, output, 1, sections=["scores"])
    assert note not in build(report_section, output, 1, 2, sections=["scores"])


def test_a_note_stands_above_everything(tmp_path, report_section):
    for text in (
        build(report_section, tmp_path, 1, note=SMOKE_RUN),
        (tmp_path / "report.html").read_text(encoding="utf-8"),
    ):
        assert 0 < text.index("Smoke run") < text.index("Results", text.index("Smoke run"))


def test_an_unfinished_stage_is_named_and_the_rest_is_shown(fake_study, report_section):
    output = fake_study(prompts=5)
    folder = output / "ma_ppo_fixed10/seed-1"
    (folder / "done.json").unlink()
    (folder / "completions/test.jsonl").unlink()
    write_json(folder / "progress.json", {"status": "failed", "step": 9, "max_steps": 240})
    text = build(report_section, output, 1, sections=["scores", "curves"])
    assert "(ma\\_ppo\\_fixed10, seed 1): failed, update 9 of 240." in text
    assert "(ma\\_ppo\\_fixed10, seed 1): not tested" in text
    assert "| MA-PPO (n = 10) | – |" in text  # noqa: RUF001
    assert "curve-gold" in text


def test_responses_cannot_break_out_of_the_report(tmp_path, report_section, make_completion, make_run):
    attack = "```\n</pre><script>alert(1)</script>\n# headline"
    responses = [make_completion(f"<i>{n}", response=attack, prompt=attack) for n in range(3)]
    for row in report_section.rows:
        make_run(tmp_path / row.stage / "seed-1", responses=responses)
    text = build(report_section, tmp_path, 1)
    assert "<i>" not in text
    outside = re.sub(r"^(`{4,})text\n.*?^\1$", "", text, flags=re.M | re.S)
    assert "script" not in outside
    assert "# headline" not in outside
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "<script" not in html
    assert "<i>" not in html


def test_no_seeds_is_a_mistake(tmp_path, report_section):
    with pytest.raises(ValueError, match=r"^seeds: expected"):
        build(report_section, tmp_path)


def test_pictures_have_names_that_any_file_system_takes_and_no_two_the_same():
    labels = ("a/b", "a b", "A-B", "ü x", "..", "日本", "x" * 300)
    block = Pictures(tuple(Picture(label, "", b"", b"") for label in labels), "")
    (section,) = name_pictures([Section("s", (block,))])
    names = [picture.name for picture in section.blocks[0].pictures]
    assert names[:6] == ["a-b", "a-b-2", "A-B-3", "u-x", "picture", "picture-2"]
    assert len(names[6]) <= 120
