import textwrap
from pathlib import Path

import pytest

from lightning_marlhf.config.yaml_files import ConfigError
from lightning_marlhf.studies.plan import read_plan

PLAN = """
title: a study
output: runs/study
seeds: [1, 2]
jobs: 2
stages:
  - {name: sft, config: sft.yaml}
  - {name: ppo, config: ppo.yaml, inputs: {model.init_args.policy: sft}, set: {trainer.max_steps: 9}}
quick: {output: runs/quick, set: {ppo: {trainer.max_steps: 2}}}
report: {baseline: ppo, rows: [{stage: ppo, label: PPO}]}
"""


def write(folder: Path, text: str) -> Path:
    for name in ("sft.yaml", "ppo.yaml"):
        (folder / name).write_text("trainer: {}\n")
    path = folder / "plan.yaml"
    path.write_text(textwrap.dedent(text))
    return path


def test_a_plan_is_read_with_its_configs_beside_it(tmp_path):
    plan = read_plan(write(tmp_path, PLAN))
    assert plan.seeds == (1, 2)
    assert plan.output == Path("runs/study")
    assert plan.stages[1].config == tmp_path / "ppo.yaml"
    assert plan.stages[1].inputs == {"model.init_args.policy": "sft"}
    assert plan.stages[1].set == {"trainer.max_steps": 9}


def test_quick_changes_the_folder_and_the_settings_it_names(tmp_path):
    plan = read_plan(write(tmp_path, PLAN), quick=True)
    assert plan.output == Path("runs/quick")
    assert plan.stages[1].set == {"trainer.max_steps": 2}
    assert plan.stages[0].set == {}


@pytest.mark.parametrize(
    ("wrong", "right", "said"),
    [
        ("titel: a study", "title: a study", "no key 'titel', did you mean 'title'?"),
        ("confg: sft.yaml", "config: sft.yaml", "stages.0: no key 'confg', did you mean 'config'?"),
        ("config: stf.yaml", "config: sft.yaml", "stages.0.config: no config file"),
        (
            "policy: sfft}",
            "policy: sft}",
            "stages.1.inputs.model.init_args.policy: no stage 'sfft', did you mean 'sft'?",
        ),
        ("policy: [a]}", "policy: sft}", "stages.1.inputs.model.init_args.policy: expected str"),
        ("seeds: [1, 1]", "seeds: [1, 2]", "seeds: expected a list of different whole numbers"),
        ("seeds: [1, x]", "seeds: [1, 2]", "seeds.1: expected int, got 'x'"),
        ("seeds: [1, -2]", "seeds: [1, 2]", "seeds.1: expected at least 0"),
        ("seeds: 2", "seeds: [1, 2]", "seeds: expected "),
        ("jobs: 0", "jobs: 2", "jobs: expected at least 1, got 0"),
        ("output: 3", "output: runs/study", "output: expected str, got '3'"),
        ("outpt: x", "output: runs/study", "no key 'outpt', did you mean 'output'?"),
        ("name: sft, config: ppo.yaml", "name: ppo, config: ppo.yaml", "stages.1.name: the name is taken"),
        ("name: a/b, config: ppo.yaml", "name: ppo, config: ppo.yaml", "stages.1.name: expected the name of"),
        ("{name: sft}", "{name: sft, config: sft.yaml}", "stages.0.config is missing"),
        ("{config: sft.yaml}", "{name: sft, config: sft.yaml}", "stages.0: name is missing"),
        ("sft", "{name: sft, config: sft.yaml}", "stages.0: expected key: value lines, got 'sft'"),
        (
            "{name: sft, command: grade, config: sft.yaml}",
            "{name: sft, config: sft.yaml}",
            "stages.0.config: grade has no such option",
        ),
        ("set: {ppp: {", "set: {ppo: {", "quick.set: no key 'ppp', did you mean 'ppo'?"),
        ("quick: {set: {", "quick: {output: runs/quick, set: {", "quick: output is missing"),
        ("baseline: sft", "baseline: ppo", "report.baseline: expected the stage of a row"),
        ("baseline: stf", "baseline: ppo", "report.baseline: no stage 'stf', did you mean 'sft'?"),
        ("{stage: pop,", "{stage: ppo,", "report.rows.0.stage: no stage 'pop', did you mean 'ppo'?"),
        ("{stge: ppo,", "{stage: ppo,", "report.rows.0: no key 'stge', did you mean 'stage'?"),
        ("report: {rows: []}", "report: {baseline: ppo, rows: [{stage: ppo, label: PPO}]}", "report.rows: expected"),
    ],
)
def test_a_mistake_is_named_with_the_file_and_what_was_meant(tmp_path, wrong, right, said):
    assert right in PLAN
    path = write(tmp_path, PLAN.replace(right, wrong))
    with pytest.raises(ConfigError) as error:
        read_plan(path, quick="quick.set" in said)
    assert said in str(error.value)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_stage_cannot_start_from_a_later_one(tmp_path):
    lines = PLAN.replace("{name: sft, config: sft.yaml}", "{name: sft, config: sft.yaml, inputs: {a: ppo}}")
    with pytest.raises(ConfigError, match="expected an earlier stage"):
        read_plan(write(tmp_path, lines))


def test_a_plan_without_a_quick_section_says_so(tmp_path):
    lines = "\n".join(line for line in PLAN.splitlines() if not line.startswith("quick"))
    with pytest.raises(ConfigError, match="no quick: section"):
        read_plan(write(tmp_path, lines), quick=True)
