import pytest

from lightning_marlhf.studies import costs
from lightning_marlhf.studies.costs import cost_lines, plan_costs
from lightning_marlhf.studies.plan import Plan
from lightning_marlhf.studies.stages import Stage


@pytest.fixture
def plan(tmp_path):
    """A run with hardware, one without, and an evaluation."""
    config = tmp_path / "run.yaml"
    config.write_text("trainer: {default_root_dir: runs/a/run}\n")
    gpu = tmp_path / "gpu.yaml"
    gpu.write_text("{}\n")
    stages = (
        Stage("sft", config, hardware=(gpu,)),
        Stage("ppo", config, hardware=(gpu,), inputs={"model.policy": "sft"}),
        Stage("small", config),
        Stage("wins", None, command="win-rate", arguments="--a {ppo}"),
    )
    return Plan(tmp_path / "plan.yaml", "t", tmp_path / "out", stages)


def test_runs_on_gpus_are_planned_from_where_their_inputs_config_says(plan, monkeypatch):
    asked = {}

    class Done:
        returncode, stdout = 0, "{}"

    def run(command, **options):
        asked.update(options)
        return Done

    monkeypatch.setattr(costs.subprocess, "run", run)
    plan_costs(plan, ["sft", "ppo", "small", "wins"])
    words = costs.json.loads(asked["input"])
    assert list(words) == ["sft", "ppo"]
    assert words["ppo"][-1] == "--model.policy=runs/a/run/export"
    assert words["ppo"][:4] == ["--config", *map(str, plan.stages[0].configs), "--config",
                                str(plan.stages[0].hardware[0])]  # fmt: skip


def test_what_cannot_be_planned_is_said(plan):
    found = plan_costs(plan, ["sft"])
    assert list(found) == ["sft"]
    (line,) = cost_lines(found, num_seeds=1)[1:]
    assert line.startswith("  sft: cannot be planned: ")


def test_hours_of_all_devices_and_seeds_are_added():
    found = {
        "sft": {"updates": 1000, "processes": 1, "hours": 2.0},
        "ppo": {"updates": 145, "processes": 8, "hours": 1.5},
    }
    assert cost_lines(found, num_seeds=3) == [
        "cost by `plan`, each seed (3):",
        "  sft: 1,000 updates, 1 device, 2.0 h",
        "  ppo: 145 updates, 8 devices, 1.5 h",
        "  all that is left, all seeds: 42 GPU hours, without evaluation",
    ]
    assert cost_lines({}, num_seeds=3) == ["cost: not estimated on a CPU"]
