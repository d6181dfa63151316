"""Adapters with default settings in every stage: what learns, and what the export does."""

import pytest
import torch

from lightning_marlhf.models.heads import RewardNetwork
from lightning_marlhf.models.loading import load_causal_lm, load_sequence_classifier
from lightning_marlhf.models.lora import LoRA
from lightning_marlhf.models.policy import Policy
from lightning_marlhf.modules.optimization import Optimization
from tests.modules.tiny_runs import data, fit

OPTIMIZATION = Optimization(lr=1e-2, schedule="constant")


def trained(module, stage, folder):
    """Train; give all weights before the first update, and after the last."""
    seen = {}
    module.on_train_batch_start = lambda *_: seen or seen.update(copies(module))
    fit(module, data(stage), folder, steps=4)  # a head of zeros holds adapters up for two
    return seen, copies(module)


def copies(module):
    return {name: x.detach().clone() for name, x in module.named_parameters()}


@pytest.fixture(params=["sft", "reward_model", "ppo", "ppo-null"])
def module(request, make_sft, make_reward_model, make_ppo, exports):
    settings = {"lora": LoRA(), "optimization": OPTIMIZATION}
    start = str(exports["policy"])
    if request.param == "sft":
        return make_sft(model=start, **settings)
    if request.param == "reward_model":
        return make_reward_model(model=start, center_rows=0, **settings)
    more = {"critic": None} if request.param == "ppo-null" else {}
    return make_ppo(**settings, **more)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated")  # peft 0.21
def test_default_adapters_and_heads_alone_learn_and_the_export_does_what_the_network_does(module, tmp_path):
    stage = {"SFT": "sft", "RewardModel": "reward_model", "MAPPO": "ppo"}[type(module).__name__]
    before, after = trained(module, stage, tmp_path)
    changed = {name for name in after if not torch.equal(before[name], after[name])}
    heads = {name for name in after if name.endswith("score.weight")}
    assert len(heads) == (stage != "sft")
    assert changed == {name for name in after if ".lora_" in name} | heads

    module.export(tmp_path / "export", card={})
    rows = torch.arange(4, 34).view(3, 10), torch.ones(3, 10, dtype=torch.bool)
    tokenizer = module.tokenizer
    if stage == "reward_model":
        there = RewardNetwork(load_sequence_classifier(str(tmp_path / "export"), tokenizer))
        expected, found = module.network(*rows), there(*rows)
    else:
        options = {"num_targets": 4, "temperature": 1.0}
        there = Policy(load_causal_lm(str(tmp_path / "export"), tokenizer))
        expected = module.policy(*rows, **options).logprobs
        found = there(*rows, **options).logprobs
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
