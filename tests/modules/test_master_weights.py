"""Weights in half precision learn through copies in fp32, which checkpoints hold."""

import copy

import pytest
import torch
from torch import nn
from torch.optim import AdamW

from lightning_marlhf.modules.optimization import MasterAdamW, Optimization
from tests.modules.test_training import SaveAndStop
from tests.modules.tiny_runs import data, fit

SETTINGS = {"lr": 1e-6, "betas": (0.9, 0.95), "weight_decay": 0.1, "fused": True}


def half_weights(dtype):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(30, 20, generator=generator).to(dtype)


def gradients(dtype, count=4):
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(30, 20, generator=generator).to(dtype) for _ in range(count)]


def updated(make, weight, grads):
    weight = nn.Parameter(weight.clone())
    optimizer = make([weight], **SETTINGS)
    for gradient in grads:
        weight.grad = gradient.to(weight.dtype)
        optimizer.step()
    return weight, optimizer


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_four_updates_change_what_they_change_in_fp32(dtype):
    start, grads = half_weights(dtype), gradients(dtype)
    expected, _ = updated(AdamW, start.float(), grads)
    rounded, _ = updated(AdamW, start, grads)
    weight, optimizer = updated(MasterAdamW, start, grads)
    master = optimizer.state[weight]["master"]
    assert torch.equal(master, expected)
    assert torch.equal(weight, expected.to(dtype))
    assert (master != start).float().mean() > 0.98
    assert (rounded != start).float().mean() < 0.2  # what AdamW alone leaves of them


def test_many_small_updates_add_up_to_a_change_of_the_weight():
    start = half_weights(torch.bfloat16)
    grads = [torch.ones_like(start)] * 3000
    weight, _ = updated(MasterAdamW, start, grads)
    expected, _ = updated(AdamW, start.float(), grads)
    assert torch.equal(weight, expected.bfloat16())
    assert (weight != start).float().mean() > 0.5


def test_weights_in_fp32_learn_as_with_adamw_alone():
    start, grads = half_weights(torch.float32), gradients(torch.float32)
    (one, first), (two, second) = (updated(make, start, grads) for make in (AdamW, MasterAdamW))
    assert torch.equal(one, two)
    assert first.state[one].keys() == second.state[two].keys()


def test_a_loaded_optimizer_goes_on_with_copies_and_moments_as_they_were():
    *grads, last = gradients(torch.bfloat16)
    weight, optimizer = updated(MasterAdamW, half_weights(torch.bfloat16), grads)
    other = nn.Parameter(weight.detach().clone())
    loaded = MasterAdamW([other], **SETTINGS)
    loaded.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for one, by in ((weight, optimizer), (other, loaded)):
        one.grad = last.clone()
        by.step()
    for name, value in optimizer.state[weight].items():
        assert value.dtype == torch.float32
        assert torch.equal(loaded.state[other][name], value), name


def test_a_weight_without_a_gradient_stays_as_it_is():
    with_gradient, without = (nn.Parameter(half_weights(torch.bfloat16)) for _ in range(2))
    optimizer = MasterAdamW([with_gradient, without], **SETTINGS)
    with_gradient.grad = torch.ones_like(with_gradient)
    optimizer.step()
    assert optimizer.param_groups[0]["params"] == [with_gradient, without]
    assert list(optimizer.state) == [with_gradient]


def trained(make, stage, folder, *, dtype, **settings):
    module = make(optimization=Optimization(lr=1e-6, schedule="constant"), dtype=dtype)
    trainer = fit(module, data(stage), folder, steps=4, **settings)
    return module, trainer.optimizers[0]


def masters(module, optimizer):
    """Give what learns in fp32, by name."""
    return {
        name: optimizer.state[weight].get("master", weight.detach()).detach().clone()
        for name, weight in module.named_parameters()
        if weight in optimizer.state
    }


@pytest.mark.parametrize("stage", ["sft", "reward_model", "ppo"])
def test_a_run_in_bf16_changes_its_weights_and_resumes_to_the_last_bit(
    stage, make_sft, make_reward_model, make_ppo, tmp_path
):
    make = {"sft": make_sft, "reward_model": make_reward_model, "ppo": make_ppo}[stage]
    started = {}

    class Start(SaveAndStop):
        def on_train_start(self, trainer, module):
            started.update({n: x.detach().float().clone() for n, x in module.named_parameters()})

    whole = masters(*trained(make, stage, tmp_path, dtype="bfloat16", callbacks=[Start(99)]))
    changed = torch.cat([(whole[name] != started[name]).flatten() for name in whole])
    assert changed.float().mean() > 0.9
    trained(make, stage, tmp_path, dtype="bfloat16", callbacks=[SaveAndStop(2)])
    last = tmp_path / "last.ckpt"
    resumed = masters(*trained(make, stage, tmp_path, dtype="bfloat16", ckpt_path=last))
    assert resumed.keys() == whole.keys()
    for name, weight in whole.items():
        assert weight.dtype == torch.float32
        assert torch.equal(resumed[name], weight), name
