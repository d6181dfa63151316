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
report: {baseline: sft, rows: [{stage: ppo, label: PPO}]}
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
        ("confg: sft.yaml", "config: sft.yaml", "no key 'confg', did you mean 'config'?"),
        ("config: stf.yaml", "config: sft.yaml", "no config file"),
        ("policy: sfft}", "policy: sft}", "'sfft', did you mean 'sft'?"),
        ("seeds: [1, 1]", "seeds: [1, 2]", "seeds: expected a list of different whole numbers"),
        ("jobs: 0", "jobs: 2", "jobs: expected a whole number from 1 on, got 0"),
        ("name: sft, config: ppo.yaml", "name: ppo, config: ppo.yaml", "the name is taken"),
        ("set: {ppp: {", "set: {ppo: {", "quick.set: no key 'ppp', did you mean 'ppo'?"),
        ("baseline: stf", "baseline: sft", "report.baseline: no stage 'stf', did you mean 'sft'?"),
        (
            "{stage: pop,",
            "{stage: ppo,",
            "report.rows.0.stage: no stage 'pop', did you mean 'ppo'?",
        ),
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
    lines = PLAN.replace(
        "{name: sft, config: sft.yaml}", "{name: sft, config: sft.yaml, inputs: {a: ppo}}"
    )
    with pytest.raises(ConfigError, match="expected an earlier stage"):
        read_plan(write(tmp_path, lines))


def test_a_plan_without_a_quick_section_says_so(tmp_path):
    lines = "\n".join(line for line in PLAN.splitlines() if not line.startswith("quick"))
    with pytest.raises(ConfigError, match="no quick: section"):
        read_plan(write(tmp_path, lines), quick=True)
