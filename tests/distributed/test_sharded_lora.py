"""Adapters under sharding: the updates of one process, small checkpoints, exports without the whole model."""

import pytest
import torch
from safetensors.torch import load_file

from lightning_marlhf.models.network_factory import NetworkFactory
from lightning_marlhf.models.sharded_checkpoint import ShardedWeights, read_index
from tests.distributed.checks import LORA
from tests.distributed.runs import assert_alike, losses, make
from tests.modules.tiny_runs import data


@pytest.fixture(scope="module")
def module(folder):
    """Adapted networks in one process, and what was logged while they were trained."""
    module = make("ppo", folder, lora=LORA)
    module.logs = losses(module, "ppo", folder / "lora")
    return module


def test_many_processes_log_what_one_logs(two, module):
    assert_alike(two["lora_losses"], module.logs)


def test_a_critic_without_a_reward_model_is_adapted_too(folder, two):
    module = make("ppo", folder, lora=LORA, critic=None)
    assert_alike(two["lora_null_losses"], losses(module, "ppo", folder / "lora-null"))


def test_a_reward_model_is_adapted_and_exported_with_its_head(folder, two, tmp_path):
    module = make("reward_model", folder, lora=LORA)
    logs = losses(module, "reward_model", folder / "lora-reward")
    assert_alike(two["lora_reward_model_losses"], logs)
    module.export(tmp_path / "one", card={})
    one, live, start = (
        load_file(path / "model.safetensors")
        for path in (tmp_path / "one", folder / "lora-reward-live", folder / "reward")
    )
    assert one.keys() == live.keys() == start.keys()
    for name, weight in one.items():
        torch.testing.assert_close(live[name], weight, atol=1e-5, rtol=0)
    assert not torch.equal(live["score.weight"], start["score.weight"])


def test_a_checkpoint_holds_adapters_and_the_critics_head_alone(folder, two, module):
    there = [n for n in read_index(folder / "lora.ckpt").state_dict_metadata if "state_dict." in n]
    weights = {name for name in there if name.startswith(("state_dict.policy", "state_dict.critic"))}
    assert all(".lora_" in name or name.endswith("score.weight") for name in weights)
    learning = [name for name, weight in module.named_parameters() if weight.requires_grad]
    assert weights == {f"state_dict.{name}" for name in learning}


def test_a_checkpoint_streams_what_the_run_exported(folder, two, module, tmp_path):
    streamed = make("ppo", folder, lora=LORA)
    streamed.data = data("ppo")
    streamed.build_networks(NetworkFactory(torch.device("meta")))
    streamed.export(tmp_path / "out", card={}, weights=ShardedWeights(folder / "lora.ckpt"))
    module.export(tmp_path / "one", card={})
    found, live, one = (
        load_file(path / "model.safetensors") for path in (tmp_path / "out", folder / "lora-live", tmp_path / "one")
    )
    start = load_file(folder / "policy/model.safetensors")
    assert found.keys() == live.keys() == start.keys()
    for name, weight in live.items():
        assert torch.equal(found[name], weight)
        torch.testing.assert_close(one[name], weight, atol=1e-5, rtol=0)
    assert any(not torch.equal(live[name], start[name]) for name in start)
