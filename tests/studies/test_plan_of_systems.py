import itertools
import textwrap
from pathlib import Path

import pytest

from lightning_marlhf.config.yaml_files import ConfigError
from lightning_marlhf.reporting.spec import ReportedNumber
from lightning_marlhf.studies.job_state import make_jobs
from lightning_marlhf.studies.plan import read_plan

SYSTEMS = """
output: {folder}/runs
reported: reported.yaml
pipelines:
  rlhf:
    scores: {{rm: RM score}}
    reference_run: ppo
    stages:
      - {{name: sft, config: sft.yaml}}
      - {{name: judge, config: sft.yaml, seed_offset: 1000}}
      - name: ppo
        label: PPO
        config: ppo.yaml
        overlays: [overlay.yaml]
        inputs: {{model.policy: sft}}
        set: {{auxiliary_scorers+: [{{name: other, model: "{{judge}}/export"}}]}}
      - {{name: unused, config: sft.yaml}}
      - {{name: wins, command: win-rate, arguments: "--a {{ppo}}/test.jsonl --task {{task}} --out {{self}}"}}
systems:
  a/small: {{label: A small, pipeline: rlhf, configs: a, task: tldr, hardware: {{ppo.yaml: gpu.yaml}}}}
  b/small: {{label: B small, pipeline: rlhf, configs: a}}
"""
SUBSTITUTES = """
output: {folder}/tiny
pipelines:
  any:
    scores: {{rm: RM score}}
    stages:
      - {{name: ppo, label: PPO, config: ppo.yaml}}
    quick: {{ppo: {{steps: 1}}}}
systems:
  little: {{label: Little, pipeline: any, configs: a, substitutes: [a/small]}}
quick: {{output: {folder}/quick}}
"""
PLAN = """
title: a table
include: systems.yaml
rows:
  - {system: a/small, runs: [ppo], evaluations: [wins]}
  - {system: b/small, runs: [ppo]}
sections: [scores]
"""
REPORTED = """
every_system: {speedup: {ppo: {value: 1, confidence: high}}}
a/small: {rm: {ppo: {value: 0.5, confidence: low}}}
"""


def write(folder: Path, **changes: str) -> Path:
    texts = {
        "systems": SYSTEMS.format(folder=folder),
        "tiny": SUBSTITUTES.format(folder=folder),
        "plan": PLAN,
        "reported": REPORTED,
        "a/sft": "trainer: {}\n",
        "a/ppo": "trainer: {}\n",
        "overlay": "{}\n",
        "gpu": "{}\n",
    }
    for name, text in {**texts, **changes}.items():
        path = folder / f"{name}.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(textwrap.dedent(text))
    return folder / "plan.yaml"


def jobs_of(path: Path, **options):
    return {job.stage: job for job in make_jobs(read_plan(path, **options), program=("run",))}


def test_rows_become_the_stages_that_they_need_and_no_others(tmp_path):
    plan = read_plan(write(tmp_path))
    names = [stage.name for stage in plan.stages]
    of_a = ["a/small/sft", "a/small/judge", "a/small/ppo", "a/small/wins"]
    assert names == [*of_a, "b/small/sft", "b/small/judge", "b/small/ppo"]
    assert plan.report_folder == tmp_path / "runs/paper/plan"


def test_a_run_reads_its_config_then_overlays_then_hardware(tmp_path):
    words = jobs_of(write(tmp_path))["a/small/ppo"].command
    configs = [after for word, after in itertools.pairwise(words) if word == "--config"]
    assert configs == [str(tmp_path / name) for name in ("a/ppo.yaml", "overlay.yaml", "gpu.yaml")]


def test_references_are_folders_of_the_same_system_and_seed(tmp_path):
    jobs = jobs_of(write(tmp_path))
    folder = f"{tmp_path}/runs/a/small"
    ppo, wins = jobs["a/small/ppo"], jobs["a/small/wins"]
    assert f"--model.policy={folder}/sft/seed-1/export" in ppo.command
    assert any(f'"{folder}/judge/seed-1/export"' in word for word in ppo.command)
    assert [need.stage for need in ppo.needs] == ["a/small/sft", "a/small/judge"]
    words = ("--a", f"{folder}/ppo/seed-1/test.jsonl", "--task", "tldr", "--out")
    assert wins.command == ("run", "win-rate", *words, f"{folder}/wins/seed-1")
    assert wins.needs == (ppo,)
    assert wins.evaluates


def test_another_seed_stays_in_the_folder_of_its_own_seed(tmp_path):
    judge = jobs_of(write(tmp_path))["a/small/judge"]
    assert "--seed_everything=1001" in judge.command
    assert judge.folder.name == "seed-1"


def test_other_hardware_makes_no_other_run(tmp_path):
    before = jobs_of(write(tmp_path))["a/small/ppo"]
    (tmp_path / "gpu.yaml").write_text("trainer: {devices: 8}\n")
    assert jobs_of(tmp_path / "plan.yaml")["a/small/ppo"].settings == before.settings
    (tmp_path / "overlay.yaml").write_text("model: {n: 3}\n")
    assert jobs_of(tmp_path / "plan.yaml")["a/small/ppo"].settings != before.settings


def test_reported_numbers_are_those_of_the_system_and_those_of_all(tmp_path):
    first, second = read_plan(write(tmp_path)).report.systems
    assert first.reported["rm"]["ppo"].value == 0.5
    assert second.reported == {"speedup": {"ppo": ReportedNumber(value=1, confidence="high")}}


def test_other_systems_are_run_in_place_of_the_plans_own(tmp_path):
    plan = read_plan(write(tmp_path), systems="tiny")
    assert [(system.name, system.label) for system in plan.report.systems] == [("little", "Little")]
    assert plan.left_out == ("b/small",)
    assert not plan.report.systems[0].evaluations
    quick = read_plan(tmp_path / "plan.yaml", systems="tiny", quick=True)
    assert quick.output == tmp_path / "quick"
    assert quick.stages[0].set == {"steps": 1}


@pytest.mark.parametrize(
    ("file", "right", "wrong", "said"),
    [
        ("plan", "sections:", "sectionz:", "no key 'sectionz', did you mean 'sections'?"),
        ("plan", "runs: [ppo], ev", "rums: [ppo], ev", "rows.0: no key 'rums', did you mean 'runs'?"),
        ("plan", "b/small", "b/smal", "rows.1.system: no system 'b/smal', did you mean 'b/small'?"),
        ("plan", "[wins]", "[wings]", "rows.0.evaluations: no stage 'wings', did you mean 'wins'?"),
        ("plan", "[scores]", "scores", "sections: expected "),
        ("plan", "systems.yaml", "system.yaml", "did you mean 'systems.yaml'?"),
        (
            "systems",
            "pipeline: rlhf, configs: a}",
            "pipeline: rlfh, configs: a}",
            "systems.b/small.pipeline: no pipeline 'rlfh', did you mean 'rlhf'?",
        ),
        (
            "systems",
            "{judge}/export",
            "{juge}/export",
            "pipelines.rlhf.stages.2.set.auxiliary_scorers+: no stage 'juge', did you mean 'judge'?",
        ),
        ("systems", "command: win-rate", "command: winrate", "pipelines.rlhf.stages.4.command: expected"),
        ("systems", "overlay.yaml", "overley.yaml", "pipelines.rlhf.stages.2.overlays.0: no config file"),
        ("systems", "gpu.yaml}", "gqu.yaml}", "systems.a/small.hardware.ppo.yaml: no config file"),
        (
            "systems",
            "seed_offset: 1000",
            "seed_ofset: 1",
            "pipelines.rlhf.stages.1: no key 'seed_ofset', did you mean 'seed_offset'?",
        ),
    ],
)
def test_a_mistake_is_one_line_that_names_it(tmp_path, file, right, wrong, said):
    text = {"plan": PLAN, "systems": SYSTEMS.format(folder=tmp_path)}[file]
    assert right in text
    with pytest.raises(ConfigError) as error:
        read_plan(write(tmp_path, **{file: text.replace(right, wrong)}))
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_no_systems_are_put_in_place_of_runs(tmp_path):
    plain = "title: t\noutput: o\nstages: [{name: sft, config: a/sft.yaml}]\n"
    with pytest.raises(ConfigError, match="--systems: this plan names its runs"):
        read_plan(write(tmp_path, plan=plain), systems="tiny")
