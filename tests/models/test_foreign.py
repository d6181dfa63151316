"""Models that are not ours: configurations with defaults of their own, and what cannot be used, told in one line."""

import json
import math

import pytest
import torch
from transformers import AutoConfig, AutoModelForSequenceClassification, BertConfig, GPT2Config, RobertaConfig, T5Config

from lightning_marlhf.data.tokenizers import character_tokenizer
from lightning_marlhf.hub.sources import SourceError
from lightning_marlhf.hub.tokenizer import load_tokenizer
from lightning_marlhf.models.backbone import context_length
from lightning_marlhf.models.configs import ModelConfig, build_config
from lightning_marlhf.models.heads import Critic, RewardNetwork
from lightning_marlhf.models.loading import load_causal_lm, load_sequence_classifier
from lightning_marlhf.models.network_factory import NetworkFactory
from lightning_marlhf.models.policy import Policy
from lightning_marlhf.planning.meta_models import build_on_meta

SIZES = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
}


def refused(load, *args, **settings):
    with pytest.raises(SourceError) as caught:
        load(*args, **settings)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("load", [load_causal_lm, load_sequence_classifier])
@pytest.mark.parametrize("family", ["phi3", "smollm3", "glm", "glm4"])
def test_an_inline_model_whose_default_pad_is_beyond_the_vocabulary_takes_the_tokenizers(family, load, tokenizer):
    heads = {"head_dim": 8} if family.startswith("glm") else {}
    model = load(ModelConfig({"model_type": family, **SIZES, **heads}), tokenizer)
    assert model.get_input_embeddings().padding_idx == tokenizer.pad_token_id
    for name in ("pad_token_id", "eos_token_id", "bos_token_id"):
        assert getattr(model.config, name) == getattr(tokenizer, name)


def test_a_family_without_a_default_pad_learns_at_the_pad_token(make_lm):
    assert make_lm("llama").get_input_embeddings().padding_idx is None


def test_a_model_that_is_only_planned_has_no_tokenizer_and_no_pad_beyond_its_vocabulary():
    source = ModelConfig({"model_type": "smollm3", **SIZES})
    model = build_on_meta(source, classifier=False, vocab_size=40)
    assert model.get_input_embeddings().weight.shape == (40, 32)


def test_the_text_part_of_a_nested_configuration_takes_vocabulary_and_pad(tokenizer):
    text = {**SIZES, "head_dim": 8, "sliding_window": 6, "attention_dropout": 0.3}
    vision = {"hidden_size": 32, "num_attention_heads": 4, "image_size": 28, "patch_size": 14}
    settings = {"model_type": "gemma3", "text_config": text, "vision_config": vision}
    config = build_config(settings, vocab_size=len(tokenizer), pad_token_id=3)
    assert config.text_config.vocab_size == len(tokenizer)
    assert config.text_config.pad_token_id == 3
    assert config.text_config.attention_dropout == 0
    with pytest.raises(SourceError, match=r"'hiden_size' .* did you mean 'hidden_size'"):
        build_config({**settings, "text_config": {"hiden_size": 8}})


def test_a_router_gets_no_noise_in_training():
    config = build_config({"model_type": "phimoe"})
    assert config.router_jitter_noise == 0


def test_a_setting_that_a_family_refuses_is_told_in_one_line(tokenizer):
    config = {"model_type": "llama", **SIZES, "hidden_size": 30}
    said = refused(load_causal_lm, ModelConfig(config), tokenizer)
    assert "llama" in said
    assert "hidden" in said


def save_config(folder, config):
    config.save_pretrained(folder)
    return str(folder)


def test_an_encoder_decoder_is_refused_by_its_family(tokenizer, tmp_path):
    source = save_config(tmp_path, T5Config())
    for on_meta in (False, True):
        said = refused(load_causal_lm, source, tokenizer, on_meta=on_meta)
        assert "no causal language model of model_type 't5'" in said
    assert "'t5'" in refused(load_causal_lm, ModelConfig({"model_type": "t5"}), tokenizer)


def test_code_of_others_is_not_run_and_not_asked_about(tokenizer, tmp_path):
    (tmp_path / "config.json").write_text(
        json.dumps({"model_type": "strange", "auto_map": {"AutoConfig": "code.Config"}})
    )
    (tmp_path / "code.py").write_text("raise SystemExit('ran')")
    assert "remote code" in refused(load_causal_lm, str(tmp_path), tokenizer)


@pytest.mark.parametrize("on_meta", [False, True])
def test_quantised_weights_are_refused(on_meta, make_lm, tokenizer, tmp_path):
    make_lm("llama").save_pretrained(tmp_path)
    settings = json.loads((tmp_path / "config.json").read_text())
    settings["quantization_config"] = {"quant_method": "gptq", "bits": 4, "group_size": 128}
    (tmp_path / "config.json").write_text(json.dumps(settings))
    said = refused(load_causal_lm, str(tmp_path), tokenizer, on_meta=on_meta)
    assert str(tmp_path) in said
    assert "gptq" in said.lower()


def test_a_model_with_another_tokenizer_is_refused_and_both_are_named(make_lm, tmp_path):
    own, other = character_tokenizer("abcdef"), character_tokenizer("fedcba")
    load_causal_lm(ModelConfig({"model_type": "llama", **SIZES}), own).save_pretrained(tmp_path)
    own.save_pretrained(tmp_path)
    other.save_pretrained(tmp_path / "other")
    given = load_tokenizer(str(tmp_path / "other"))
    for load in (load_causal_lm, load_sequence_classifier):
        for on_meta in (False, True):
            said = refused(load, str(tmp_path), given, on_meta=on_meta)
            assert f"{tmp_path} has another tokenizer than {tmp_path / 'other'}" in said
            assert "'a' has id 4 here and 9 there" in said


def test_a_model_that_lacks_rows_for_added_tokens_gets_them_and_for_others_is_refused(tmp_path):
    small, large, longer = (character_tokenizer(letters) for letters in ("ab", "ab", "abcd"))
    config = ModelConfig({"model_type": "llama", **SIZES})
    load_sequence_classifier(config, small).save_pretrained(tmp_path)  # without its tokenizer
    large.add_tokens(["one", "two"])
    critic = Critic(load_sequence_classifier(str(tmp_path), large))
    ids = torch.arange(4, 8).expand(2, -1)  # up to "two"
    assert critic(ids, torch.ones_like(ids).bool(), num_targets=3).isfinite().all()
    for on_meta in (False, True):
        said = refused(load_sequence_classifier, str(tmp_path), longer, on_meta=on_meta)
        assert f"{tmp_path} has embeddings for 6 tokens" in said
        assert "'c' is 6" in said


def test_ids_with_gaps_have_rows(tokenizer, monkeypatch):
    monkeypatch.setattr(tokenizer, "get_vocab", lambda: {"<pad>": 0, "a": 4, "<added>": 70})
    model = load_causal_lm(ModelConfig({"model_type": "llama", **SIZES}), tokenizer)
    assert model.get_input_embeddings().num_embeddings == 71


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (RobertaConfig(max_position_embeddings=34, pad_token_id=1), 32),  # they count from after pad
        (BertConfig(max_position_embeddings=34), 34),
        (GPT2Config(n_positions=34), 34),
        (AutoConfig.for_model("bloom"), math.inf),
        (AutoConfig.for_model("xlnet", n_layer=1), math.inf),  # states -1
    ],
)
def test_positions_are_those_that_tokens_can_have(config, expected):
    with torch.device("meta"):
        model = AutoModelForSequenceClassification.from_config(config)
    assert context_length(model) == expected


@pytest.mark.parametrize("kind", [Critic, RewardNetwork])
def test_an_encoder_is_refused_where_it_would_have_to_learn(kind, tokenizer, tmp_path):
    settings = {"vocab_size": 40, "pad_token_id": 0, **{k: SIZES[k] for k in SIZES if "key" not in k}}
    for labels in (1, 2):
        config = BertConfig(**settings, num_labels=labels)
        AutoModelForSequenceClassification.from_config(config).save_pretrained(tmp_path)
        said = refused(NetworkFactory(torch.device("cpu")).build, kind, str(tmp_path), tokenizer)
        assert str(tmp_path) in said
        assert ("BertForSequenceClassification" in said) or ("2 scores" in said)


def test_a_vocabulary_that_is_padded_to_a_multiple_is_kept(tokenizer, tmp_path):
    config = ModelConfig({"model_type": "llama", **SIZES})
    lm = load_causal_lm(config, tokenizer)
    lm.resize_token_embeddings(40, mean_resizing=False)
    lm.save_pretrained(tmp_path)
    again = Policy(load_causal_lm(str(tmp_path), tokenizer))
    ids = torch.tensor([[4, 5, 6, 7]])
    got = again(ids, torch.ones_like(ids).bool(), num_targets=1, temperature=1.0).logprobs
    logits = lm(ids).logits[0, 2]
    assert logits.shape == (40,)
    torch.testing.assert_close(got[0, 0], logits.log_softmax(-1)[7], atol=1e-5, rtol=0)
