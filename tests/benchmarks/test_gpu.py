"""The benchmark for a GPU runs, at a tiny shape, without one."""

from dataclasses import replace

import pytest

from benchmarks import gpu, gpu_table

TINY = gpu_table.Case("sft", 2, gpu.TINY, batch_size=4, prompt=8, response=6, steps=2, dtype="float32")


@pytest.mark.parametrize("stage", gpu.STAGES)
@pytest.mark.filterwarnings("ignore")  # Lightning's hints
def test_each_stage_is_measured_and_planned(stage, tmp_path):
    case = replace(TINY, stage=stage)
    result = gpu.measure(case, gpu.write_reward_model(tmp_path, case), None)
    assert result.failure == ""
    phases = gpu_table.PHASES if stage == "ppo" else ("update",)
    assert set(result.plan) == set(phases)
    assert all(result.seconds[phase] > 0 for phase in phases)
    assert 0 < result.response <= 6
    assert result.trained_per_s > 0
    assert gpu_table.line(result).count("|") == 1 + 5 + len(gpu_table.PHASES)


def test_what_does_not_fit_by_plan_is_not_tried(tmp_path):
    result = gpu.measure(TINY, tmp_path, 1000.0)
    assert result.failure.startswith("does not fit: ")
    assert gpu_table.line(result).count("|") == 1 + 5 + len(gpu_table.PHASES)


def test_speeds_count_the_tokens_of_all_rows():
    result = gpu_table.Result(replace(TINY, stage="ppo"), {}, seconds={"generation": 2.0, "update": 7.0}, response=6.0)
    assert result.generated_per_s == 4 * 6 / 2
    assert result.trained_per_s == 4 * (8 + 6) / 7
    pairs = replace(result, case=replace(TINY, stage="reward_model"))
    assert pairs.trained_per_s == 2 * 4 * (8 + 6) / 7


def test_a_phase_that_comes_twice_in_a_step_counts_twice():
    assert gpu.per_step([1.0, 2.0, 3.0, 4.0], 2) == [3.0, 7.0]
    assert gpu.per_step([1.0, 2.0], 2) == [1.0, 2.0]
    assert gpu.per_step([], 2) == [0.0, 0.0]


def test_the_table_replaces_its_section_and_nothing_else(tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text("# Benchmarks\n\nfirst\n\n## The last\n\nmore\n")
    text = gpu_table.section([gpu_table.Result(TINY, {"update": 1e9}, failure="no")], "command", "a card")
    gpu_table.put(text, readme)
    gpu_table.put(text.replace("a card", "another card"), readme)
    said = readme.read_text()
    assert said.count(gpu_table.HEADING) == 1
    assert "another card" in said
    readme.write_text(said + "\n## After\n\nend\n")
    gpu_table.put(text, readme)
    assert readme.read_text().endswith("\n\n## After\n\nend\n")
    assert readme.read_text().startswith("# Benchmarks\n\nfirst\n\n## The last\n\nmore\n\n## Train")
