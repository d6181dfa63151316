from dataclasses import replace

import pytest

from lightning_marlhf.config.yaml_files import ConfigError
from lightning_marlhf.studies.dry_run import Cost, check_runs, cost_lines
from lightning_marlhf.studies.job_state import make_jobs
from lightning_marlhf.studies.plan import Plan
from lightning_marlhf.studies.stages import Stage


@pytest.fixture
def plan(tmp_path):
    """A run with hardware, one that starts from it, one without hardware, and an evaluation."""
    config = tmp_path / "run.yaml"
    config.write_text("trainer: {default_root_dir: runs/a/run}\n")
    gpu = tmp_path / "gpu.yaml"
    gpu.write_text("{}\n")
    stages = (
        Stage(name="sft", config=config, hardware=(gpu,)),
        Stage(name="ppo", config=config, hardware=(gpu,), inputs={"model.policy": "sft"}),
        Stage(name="small", config=config),
        Stage(name="wins", command="win-rate", arguments="--a {ppo}"),
    )
    return Plan(tmp_path / "plan.yaml", "t", tmp_path / "out", stages, seeds=(1, 2))


def refuse(words):
    raise ConfigError(" ".join(words))


def accept(words):
    pass


def tell(words):
    return Cost(problem=" ".join(words))


def fail(words):
    raise ValueError("no such\nfamily")


def test_runs_on_gpus_are_estimated_from_where_their_inputs_config_says_and_others_checked(plan):
    costs = check_runs(plan, make_jobs(plan), check=accept, estimate=tell)
    assert list(costs) == ["sft", "ppo"]
    config, gpu = plan.stages[0].config, plan.stages[0].hardware[0]
    expected = f"--config {config} --config {gpu} --model.policy=runs/a/run/export"
    assert costs["ppo"].problem == expected


def test_one_seed_of_each_stage_is_checked_by_its_own_command_line(plan):
    with pytest.raises(ConfigError) as mistake:
        check_runs(plan, make_jobs(plan), check=refuse, estimate=tell)
    assert str(mistake.value).startswith(f"fit --config {plan.stages[0].config} --seed_everything=1 ")


def test_what_cannot_be_planned_is_said_and_what_is_set_wrong_refused(plan):
    costs = check_runs(plan, make_jobs(plan), check=accept, estimate=fail)
    assert costs["sft"] == Cost(problem="no such family")
    assert cost_lines(costs, num_seeds=1)[1] == "  sft: cannot be planned: no such family"
    with pytest.raises(ConfigError):
        check_runs(plan, make_jobs(plan), check=accept, estimate=refuse)


def test_nothing_is_asked_where_nothing_is_to_run(plan):
    assert check_runs(plan, [], check=refuse, estimate=refuse) == {}
    evaluation = replace(plan, stages=plan.stages[3:])
    jobs = [job for job in make_jobs(plan) if job.evaluates]
    assert check_runs(evaluation, jobs, check=refuse, estimate=refuse) == {}


def test_hours_of_all_devices_are_added():
    costs = {"sft": Cost(updates=1000, processes=1, hours=2.0), "ppo": Cost(updates=145, processes=8, hours=1.5)}
    assert cost_lines(costs, num_seeds=3) == [
        "cost by `plan`, each seed (3):",
        "  sft: 1,000 updates, 1 device, 2.0 h",
        "  ppo: 145 updates, 8 devices, 1.5 h",
    ]
    assert [cost.gpu_hours for cost in costs.values()] == [2.0, 12.0]
    assert cost_lines({}, num_seeds=3) == ["cost: not estimated on a CPU"]
