"""A model family is supported, or refused at loading: never wrong numbers."""

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification

from lightning_marlhf.hub.sources import SourceError
from lightning_marlhf.models.backbone import position_ids
from lightning_marlhf.models.heads import Critic, RewardNetwork
from lightning_marlhf.models.network_factory import NetworkFactory
from lightning_marlhf.models.policy import Policy

DECODER = {
    "vocab_size": 32,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "eos_token_id": 1,
    "bos_token_id": 2,
}
ENCODER = {name: value for name, value in DECODER.items() if name != "num_key_value_heads"}
RIGHT = {
    "cohere": {**DECODER, "logit_scale": 0.25},  # multiplies its logits
    "granite": {**DECODER, "logits_scaling": 4.0},  # divides them
    "falcon_h1": {  # a state in addition to attention, and a multiplier of another name
        **DECODER, "head_dim": 8, "lm_head_multiplier": 0.5, "mamba_d_ssm": 32, "mamba_n_heads": 4,
        "mamba_d_head": 8, "mamba_n_groups": 1, "mamba_d_state": 8, "mamba_chunk_size": 4,
    },
    "gemma2": {**DECODER, "head_dim": 8, "final_logit_softcapping": 3.0, "sliding_window": 6},
    "mpt": {"vocab_size": 32, "d_model": 32, "n_heads": 4, "n_layers": 2, "max_seq_len": 64},
    "llama4_text": {  # its prefix is that of a larger model
        **DECODER, "head_dim": 8, "intermediate_size_mlp": 48, "num_local_experts": 2,
    },
    "opt": {  # its head passes over the body that its prefix names
        "vocab_size": 32, "hidden_size": 32, "ffn_dim": 48, "num_hidden_layers": 2,
        "num_attention_heads": 4, "max_position_embeddings": 64, "word_embed_proj_dim": 32,
    },
    "codegen": {  # does not know pad tokens
        "vocab_size": 32, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64, "rotary_dim": 8,
    },
    "openai-gpt": {"vocab_size": 32, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64},
    "mamba": {"vocab_size": 32, "hidden_size": 32, "num_hidden_layers": 2, "state_size": 8},
}  # fmt: skip
PADDING = {
    "rwkv": {"vocab_size": 32, "hidden_size": 32, "num_hidden_layers": 2},
    "recurrent_gemma": {
        **DECODER, "num_hidden_layers": 3, "head_dim": 8, "lru_width": 32, "attention_window_size": 6,
    },
    "bart": {
        "vocab_size": 32, "d_model": 32, "encoder_layers": 1, "decoder_layers": 2, "decoder_ffn_dim": 48,
        "encoder_attention_heads": 4, "decoder_attention_heads": 4, "max_position_embeddings": 64,
    },
}  # fmt: skip
HEADS = {
    "modernbert-decoder": {**ENCODER, "local_attention": 6},  # layers between body and head
    "bert": {**ENCODER, "is_decoder": True},  # the same
    "bert-generation": {**ENCODER, "is_decoder": False},  # sees what follows
}


def build(family, settings, *, auto=AutoModelForCausalLM, **more):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return auto.from_config(AutoConfig.for_model(family, **settings, **more)).eval()


@pytest.mark.parametrize("family", sorted(RIGHT))
def test_the_log_probabilities_of_a_foreign_family_are_its_own(family, make_rows):
    lm = build(family, RIGHT[family])
    with torch.no_grad():  # such logits as a trained model's
        lm.get_output_embeddings().weight.mul_(20)
    ids, mask = make_rows()
    policy = Policy(lm)
    got = policy(ids, mask, num_targets=4, temperature=0.7)
    positions = {"position_ids": position_ids(mask)} if family != "mamba" else {}
    with torch.no_grad():
        try:
            logits = lm(input_ids=ids, attention_mask=mask.long(), **positions).logits
        except TypeError:  # it counts positions by the mask
            logits = lm(input_ids=ids, attention_mask=mask.long()).logits
    logprobs = (logits / 0.7).log_softmax(dim=-1)
    own = logprobs[:, -5:-1].gather(-1, ids[:, -4:, None]).squeeze(-1)
    entropy = -(logprobs.exp() * logprobs).sum(dim=-1)[:, -5:-1]
    real = mask[:, -4:]
    torch.testing.assert_close(got.logprobs[real], own[real], atol=1e-4, rtol=0)
    torch.testing.assert_close(got.entropy[real], entropy[real], atol=1e-4, rtol=0)


@pytest.mark.parametrize("family", sorted(PADDING))
def test_a_family_that_left_padding_changes_is_refused_by_name(family):
    lm = build(family, PADDING[family])
    with pytest.raises(SourceError, match=rf"{type(lm).__name__} .*left .*changes .* [\d.]+%"):
        Policy(lm)


@pytest.mark.parametrize("family", sorted(HEADS))
def test_a_family_with_another_head_is_refused_by_name_and_difference(family):
    lm, difference = build(family, HEADS[family]), r"differ by [\d.]+ nats|changes .* [\d.]+%"
    with pytest.raises(SourceError, match=rf"{type(lm).__name__} .*({difference})"):
        Policy(lm)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("cap", [30.0, 50.0])
def test_a_soft_cap_under_an_unknown_name_is_seen_in_a_fresh_model(make_lm, cap, dtype):
    """Its logits are so small that the cap changes none of them by more than 1e-6."""
    lm = build("llama", {**DECODER, "initializer_range": 0.02}).to(getattr(torch, dtype))
    lm.lm_head.register_forward_hook(lambda _, args, logits: cap * torch.tanh(logits / cap))
    with pytest.raises(SourceError, match="nats"):
        Policy(lm)


def test_what_a_family_cannot_do_is_told_in_one_line():
    lm = build("llama", DECODER)
    lm.model.forward = lambda *args, **kwargs: {}["positions"]
    with pytest.raises(SourceError, match=r"LlamaForCausalLM .*KeyError") as caught:
        Policy(lm)
    assert "\n" not in str(caught.value)


def test_a_check_leaves_no_trace(family, make_lm):
    lm = make_lm(family).train()
    settings, random = lm.generation_config, torch.get_rng_state()
    weights = {name: x.clone() for name, x in lm.state_dict().items()}
    policy = Policy(lm)
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(x, weights[name]) for name, x in lm.state_dict().items())
    assert lm.training
    assert lm.generation_config is settings
    assert not any(part._forward_hooks for part in policy.modules())
    assert all(x.grad is None for x in lm.parameters())


@pytest.mark.parametrize("network", [Critic, RewardNetwork])
def test_a_classifier_that_left_padding_changes_is_refused(network):
    classifier = build(
        "gpt2",
        {"vocab_size": 32, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64},
        auto=AutoModelForSequenceClassification,
        num_labels=1,
        pad_token_id=0,
    )
    forward = classifier.transformer.forward
    classifier.transformer.forward = lambda position_ids, **rest: forward(**rest)
    with pytest.raises(SourceError, match=r"GPT2ForSequenceClassification .*left .*%"):
        network(classifier)


def test_a_critic_of_a_family_without_classifiers_is_refused_in_one_line():
    lm = build("mamba", RIGHT["mamba"])
    with pytest.raises(SourceError, match="no sequence classifier of model_type 'mamba'") as caught:
        Critic.from_causal_lm(lm)
    assert "\n" not in str(caught.value)


def test_a_placed_network_is_checked(make_lm, tokenizer, tmp_path):
    lm = build("recurrent_gemma", PADDING["recurrent_gemma"])
    lm.save_pretrained(tmp_path)
    with pytest.raises(SourceError, match=f"{tmp_path} .*RecurrentGemma.*left"):
        NetworkFactory(torch.device("cpu")).build(Policy, str(tmp_path), tokenizer)
