"""`plan` reads a command line of `fit`, and says what the run would take."""

import json
from pathlib import Path

import pytest

from lightning_marlhf.__main__ import main

ROOT = Path(__file__).parents[2]
SFT = str(ROOT / "experiments/tldr/gemma-2b/sft.yaml")
PPO = str(ROOT / "experiments/tldr/gemma-2b/ma_ppo_fixed5.yaml")
ONE_GPU, EIGHT_GPUS = (str(ROOT / f"experiments/hardware/{name}.yaml") for name in ("1x80gb", "8x80gb"))


@pytest.fixture
def plan(capsys, monkeypatch):
    """Plan a run: exit status, standard output, standard error."""
    monkeypatch.chdir(ROOT)

    def run(*arguments):
        status = main(["plan", *arguments])
        said = capsys.readouterr()
        return status, said.out, said.err

    return run


def facts(plan, *arguments):
    status, out, err = plan(*arguments, "--json")
    assert status == 0, err
    return json.loads(out)


def test_the_papers_sft_is_planned_without_data_weights_or_gpu(plan):
    found = facts(plan, "--config", SFT, "--config", ONE_GPU)
    assert found["train_rows"] == 18_572
    assert found["updates"] == 3 * (18_572 // 512)
    assert found["parameters"] == {"policy": 2_506_172_416}
    assert found["memory"]["networks"]["policy"]["weights"] == 4 * 2_506_172_416
    assert found["memory"]["capacity"] == 80e9
    assert found["memory"]["fits"] is True


def test_a_run_starts_from_what_the_stages_beside_it_will_export(plan):
    found = facts(plan, "--config", PPO, "--config", EIGHT_GPUS)
    assert set(found["parameters"]) == {"policy", "critic", "reference", "scorer rm"}
    assert (found["processes"], found["sharded"]) == (8, True)
    assert found["batches"] == found["updates"] == 37_143 // 256


def test_27_billion_generate_block_by_block_where_the_whole_policy_does_not_fit(plan):
    configs = ["experiments/tldr/gemma-2-27b/ma_ppo_fixed5.yaml", "experiments/hardware/4x8x80gb.yaml"]
    run = [word for path in configs for word in ("--config", str(ROOT / path))]
    strategy = "--trainer.strategy.init_args"
    assert facts(plan, *run)["memory"]["fits"] is True
    changes = [f"{strategy}.gathering=rollout", f"{strategy}.offload_frozen=true"]
    found = facts(plan, *run, *changes, "--gpu-memory", "60")["memory"]
    assert found["fits"] is False
    assert found["phases"]["generation"]["gathered"] == 2 * 27_227_128_320
    assert (found["networks"]["reference"], found["networks"]["scorer rm"]) == ({}, {})


def test_adapters_have_gradients_and_moments_and_the_reference_no_weights(plan):
    lora = ["--model.init_args.lora.r=16", "--model.init_args.lora.target_modules=[q_proj]"]
    found = facts(plan, "--config", PPO, "--config", EIGHT_GPUS, *lora)
    assert set(found["parameters"]) == {"policy", "critic", "scorer rm"}
    policy = found["memory"]["networks"]["policy"]
    learning = 18 * 16 * (2048 + 2048)  # layers, rank, inputs and outputs of q_proj
    assert policy["gradients"] == policy["optimizer"] / 2 == 4 * learning / 8
    assert policy["weights"] == 4 * 2_506_172_416 / 8


def test_what_does_not_fit_is_said_with_what_to_change(plan):
    _, page, _ = plan("--config", SFT, "--config", ONE_GPU, "--gpu-memory", "24")
    assert "does NOT fit into 24.0 GB (update)" in " ".join(page.split())


def test_settings_of_the_command_line_count(plan):
    whole, half = (
        facts(plan, "--config", SFT, "--config", ONE_GPU, f"--data.init_args.batch_size={size}") for size in (512, 256)
    )
    assert half["updates"] == 3 * (18_572 // 256) > whole["updates"]


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["--mean-length", "2"], 2, "--mean-length: expected more than 0 and at most 1, got 2.0"),
        (["--data.init_args.splitby=row"], 2, "TLDR has no 'splitby', did you mean 'split_by'?"),
        (["--trainer.devices=3"], 1, "a batch of 512 rows cannot be shared by 3 processes evenly"),
    ],
)
def test_a_mistake_is_one_line(plan, arguments, status, said):
    found, out, err = plan("--config", SFT, *arguments)
    assert (found, out) == (status, "")
    assert said in err
    assert err.count("\n") == 1
