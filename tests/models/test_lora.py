"""Adapters: trained on frozen weights, 0 at first, exported alone or merged."""

import pytest
import torch
from peft import PeftModel
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    BertForSequenceClassification,
    RobertaForSequenceClassification,
)

from lightning_marlhf.models import streaming
from lightning_marlhf.models.heads import Critic, RewardNetwork
from lightning_marlhf.models.hf_export import export
from lightning_marlhf.models.lora import LoRA, WithoutAdapter, adapt, adapters, draw_adapters
from lightning_marlhf.models.policy import Policy

LORA = LoRA(r=4, alpha=8.0, target_modules=["q_proj", "down_proj"], keep_adapter=True)


def logprobs(policy, rows):
    return policy(*rows, num_targets=4, temperature=1.0).logprobs


@pytest.fixture
def adapted(make_lm):
    """A policy whose adapters were trained."""
    policy = Policy(make_lm())
    adapt(policy.lm, LORA)
    draw_adapters(policy, seed=1)
    generator = torch.Generator().manual_seed(2)
    for _, layer in adapters(policy):
        weight = layer.lora_B["default"].weight
        weight.data = torch.randn(weight.shape, generator=generator)
    return policy


def test_a_fresh_adapter_changes_nothing_and_alone_learns(make_lm, make_rows):
    policy, rows = Policy(make_lm()), make_rows()
    before = logprobs(policy, rows)
    adapt(policy.lm, LORA)
    draw_adapters(policy, seed=1)
    torch.testing.assert_close(logprobs(policy, rows), before, rtol=0, atol=0)
    learning = {name for name, weight in policy.named_parameters() if weight.requires_grad}
    assert learning == {name for name, _ in policy.named_parameters() if ".lora_" in name}
    assert len(learning) == 2 * 2 * 2  # layers, targets, A and B


def test_adapters_depend_on_the_seed_alone(make_lm):
    drawn = []
    for seed in (1, 1, 2):
        lm = make_lm(seed=3)
        adapt(lm, LORA)
        draw_adapters(lm, seed=seed)
        drawn.append(torch.cat([a.lora_A["default"].weight.flatten() for _, a in adapters(lm)]))
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_the_policy_without_its_adapter_is_what_it_was(make_lm, make_rows, adapted):
    rows = make_rows()
    before = logprobs(Policy(make_lm()), rows)
    with torch.no_grad():
        after = logprobs(adapted, rows)
    torch.testing.assert_close(logprobs(WithoutAdapter(adapted), rows), before, rtol=0, atol=0)
    assert (after - before).abs().max() > 0.1
    torch.testing.assert_close(logprobs(adapted, rows).detach(), after, rtol=0, atol=0)


@pytest.mark.parametrize("targets", ["all-linear", "score", ["score"]])
def test_the_head_of_a_classifier_learns_whole_beside_adapters(make_classifier, family, targets):
    critic = Critic(make_classifier(family))
    if targets != "all-linear":
        with pytest.raises(ValueError, match=r"lora\.target_modules: \w+ has no linear .* score"):
            adapt(critic.classifier, LoRA(target_modules=targets))
        return
    adapt(critic.classifier, LoRA(target_modules=targets))
    learning = {name for name, weight in critic.named_parameters() if weight.requires_grad}
    assert {name for name in learning if ".lora_" not in name} == {"classifier.score.weight"}
    assert len(learning) > 1
    assert not any("score" in name for name, _ in adapters(critic))


@pytest.mark.parametrize("make", [BertForSequenceClassification, RobertaForSequenceClassification])
def test_a_head_of_any_name_and_depth_learns_whole(make):
    size = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 9}
    model = make(make.config_class(intermediate_size=8, num_labels=1, **size))
    adapt(model, LoRA())
    learning = {name for name, weight in model.named_parameters() if weight.requires_grad}
    head = {name for name, _ in model.named_parameters() if name.startswith("classifier.")}
    assert head == {name for name in learning if ".lora_" not in name}


@pytest.mark.parametrize("target", ["q_proj", "self_attn.q_proj"])
def test_a_target_given_as_text_is_the_end_of_names(make_lm, target):
    lm = make_lm()
    adapt(lm, LoRA(target_modules=target))
    names = [name for name, _ in adapters(lm)]
    assert names == [f"model.layers.{layer}.self_attn.q_proj" for layer in range(2)]


@pytest.mark.parametrize("targets", ["proj", "lm_head", ["q_proj", "qproj"], []])
def test_targets_that_a_model_does_not_have_are_refused_beside_those_it_has(make_lm, targets):
    with pytest.raises(ValueError, match=r"lora\.target_modules: Gemma.* some of down_proj, .*v_pro"):
        adapt(make_lm(), LoRA(target_modules=targets))


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated")  # peft 0.21
def test_an_exported_classifier_has_its_head_merged_and_beside_the_adapter(
    make_classifier, make_rows, tokenizer, tmp_path
):
    lora, network = LoRA(keep_adapter=True), RewardNetwork(make_classifier())
    adapt(network.classifier, lora)
    draw_adapters(network, seed=1)
    generator = torch.Generator().manual_seed(2)
    for _, weight in network.named_parameters():
        if weight.requires_grad:
            weight.data = torch.randn(weight.shape, generator=generator)
    expected = network(*make_rows())
    export(network.classifier, tokenizer, tmp_path, card={}, lora=lora, base="base")
    merged = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    adapted = PeftModel.from_pretrained(make_classifier(), tmp_path / "adapter").merge_and_unload()
    for model in (merged, adapted):
        torch.testing.assert_close(RewardNetwork(model)(*make_rows()), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated")  # peft 0.21
def test_an_export_has_the_adapter_merged_and_beside_it(make_lm, make_rows, adapted, tokenizer, tmp_path, monkeypatch):
    monkeypatch.setattr(streaming, "FILE_BYTES", 8192)
    rows = make_rows()
    expected = logprobs(adapted, rows)
    export(adapted.lm, tokenizer, tmp_path / "out", card={}, lora=LORA, base="base")
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    torch.testing.assert_close(logprobs(Policy(merged), rows), expected, atol=1e-4, rtol=1e-4)
    adapted = PeftModel.from_pretrained(make_lm(), tmp_path / "out/adapter")
    merged_by_peft = adapted.merge_and_unload()
    torch.testing.assert_close(logprobs(Policy(merged_by_peft), rows), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("settings", [{"r": 0}, {"alpha": 0.0}])
def test_settings_that_cannot_work_are_refused(settings):
    with pytest.raises(ValueError, match="expected"):
        LoRA(**settings)
