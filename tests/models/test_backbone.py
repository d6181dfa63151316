"""Loading: what is kept, what is initialised, what is refused."""

import json
import logging as python_logging
import math

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from lightning_marlhf.hub.sources import SourceError
from lightning_marlhf.hub.tokenizer import load_tokenizer
from lightning_marlhf.models.backbone import position_ids
from lightning_marlhf.models.configs import ModelConfig
from lightning_marlhf.models.loading import load_causal_lm, load_sequence_classifier


def same_weights(a, b):
    a, b = a.state_dict(), b.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_positions_count_real_tokens_from_zero():
    mask = torch.tensor([[0, 0, 1, 1], [1, 1, 1, 0]]).bool()
    assert position_ids(mask).tolist() == [[0, 0, 0, 1], [0, 1, 2, 2]]


def test_an_inline_model_takes_vocabulary_and_special_tokens_from_the_tokenizer(family, make_lm, tokenizer):
    lm = make_lm(family)
    assert lm.get_input_embeddings().num_embeddings == len(tokenizer)
    for config in (lm.config, lm.generation_config):
        assert config.pad_token_id == tokenizer.pad_token_id
        assert config.eos_token_id == tokenizer.eos_token_id
        assert config.bos_token_id == tokenizer.bos_token_id


def test_an_inline_model_depends_on_its_seed_alone(make_lm):
    torch.manual_seed(1)
    first = make_lm(seed=3)
    torch.manual_seed(2)
    before = torch.get_rng_state()
    second = make_lm(seed=3)
    assert torch.equal(torch.get_rng_state(), before)
    assert same_weights(first, second)
    assert not same_weights(first, make_lm(seed=4))


def test_a_misspelt_setting_is_refused_with_the_nearest_right_one(tokenizer):
    with pytest.raises(match="'hiden_size' is no setting of a 'gemma' configuration: did you mean 'hidden_size'"):
        load_causal_lm(ModelConfig({"model_type": "gemma", "hiden_size": 8}), tokenizer)


@pytest.mark.parametrize("config", [{}, {"model_type": "gema"}])
def test_an_unknown_model_type_is_refused(tokenizer, config):
    with pytest.raises(SourceError, match=r"model_type .* is unknown"):
        load_causal_lm(ModelConfig(config), tokenizer)


def test_a_saved_model_comes_back_exactly(family, make_lm, tokenizer, tmp_path):
    lm = make_lm(family)
    lm.save_pretrained(tmp_path)
    again = load_causal_lm(str(tmp_path), tokenizer)
    assert same_weights(lm, again)
    assert again.training


def test_dropout_of_a_saved_model_is_set_to_zero(family, make_lm, make_rows, tokenizer, tmp_path):
    make_lm(family).save_pretrained(tmp_path)
    settings = json.loads((tmp_path / "config.json").read_text())
    rates = [name for name in settings if "dropout" in name or "pdrop" in name]
    assert rates
    (tmp_path / "config.json").write_text(json.dumps(settings | dict.fromkeys(rates, 0.5)))
    lm = load_causal_lm(str(tmp_path), tokenizer).train()
    ids, mask = make_rows()
    assert torch.equal(lm(ids, attention_mask=mask).logits, lm(ids, attention_mask=mask).logits)


@pytest.mark.parametrize("load", [load_causal_lm, load_sequence_classifier])
def test_the_dtype_is_the_one_asked_for(load, make_lm, tokenizer, tmp_path):
    make_lm(dtype="bfloat16").save_pretrained(tmp_path)
    assert load(str(tmp_path), tokenizer).dtype == torch.float32
    assert load(str(tmp_path), tokenizer, dtype="bfloat16").dtype == torch.bfloat16


def test_an_unknown_dtype_is_refused(tokenizer):
    with pytest.raises(ValueError, match=r"dtype: expected one of float32, .* got 'bf16'"):
        load_causal_lm(ModelConfig({"model_type": "gemma"}), tokenizer, dtype="bf16")


def test_a_classifier_from_a_language_model_keeps_the_body_and_draws_the_head(family, make_lm, tokenizer, tmp_path):
    lm = make_lm(family)
    lm.save_pretrained(tmp_path)
    classifier = load_sequence_classifier(str(tmp_path), tokenizer, seed=1)
    body, lm_body = (getattr(m, m.base_model_prefix) for m in (classifier, lm))
    assert same_weights(body, lm_body)

    weight = classifier.score.weight
    assert weight.shape == (1, 32)
    assert 0.6 < weight.std() * math.sqrt(33) < 1.4  # std 1/sqrt(hidden + 1), from 32 draws
    again = load_sequence_classifier(str(tmp_path), tokenizer, seed=1).score.weight
    other = load_sequence_classifier(str(tmp_path), tokenizer, seed=2).score.weight
    assert torch.equal(weight, again)
    assert not torch.equal(weight, other)


def test_a_classifier_keeps_its_head(family, make_classifier, tokenizer, tmp_path):
    classifier = make_classifier(family, seed=5)
    classifier.save_pretrained(tmp_path)
    again = load_sequence_classifier(str(tmp_path), tokenizer, seed=6)
    assert same_weights(classifier, again)


def test_a_classifier_that_lost_its_head_is_refused(make_classifier, make_lm, tokenizer, tmp_path):
    make_classifier().save_pretrained(tmp_path)
    make_lm().save_pretrained(tmp_path / "lm")
    (tmp_path / "lm" / "model.safetensors").replace(tmp_path / "model.safetensors")
    with pytest.raises(SourceError, match=r"lacks 1 of its weights \(score.weight\)"):
        load_sequence_classifier(str(tmp_path), tokenizer)


def test_a_language_model_that_lost_weights_is_refused(make_lm, tokenizer, tmp_path):
    make_lm().save_pretrained(tmp_path)
    settings = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(settings | {"num_hidden_layers": 3}))
    for load in (load_causal_lm, load_sequence_classifier):
        with pytest.raises(SourceError, match=r"lacks \d+ of its weights \(model.layers.2"):
            load(str(tmp_path), tokenizer)


def test_a_reward_model_is_refused_as_a_policy(make_classifier, tokenizer, tmp_path):
    make_classifier().save_pretrained(tmp_path)
    with pytest.raises(SourceError, match=r"is a classifier \(GemmaForSequenceClassification\)"):
        load_causal_lm(str(tmp_path), tokenizer)


def test_a_classifier_with_three_labels_is_refused(make_classifier, tokenizer, tmp_path):
    make_classifier().save_pretrained(tmp_path)
    settings = json.loads((tmp_path / "config.json").read_text())
    labels = {str(i): f"LABEL_{i}" for i in range(3)}
    (tmp_path / "config.json").write_text(json.dumps(settings | {"id2label": labels}))
    with pytest.raises(SourceError, match="gives 3 scores: expected a sequence classifier with one label"):
        load_sequence_classifier(str(tmp_path), tokenizer)


def test_loading_says_nothing(make_lm, tokenizer, tmp_path, capfd, caplog):
    make_lm().save_pretrained(tmp_path)
    capfd.readouterr()
    with caplog.at_level(python_logging.WARNING):
        load_sequence_classifier(str(tmp_path), tokenizer)
        load_causal_lm(str(tmp_path), tokenizer)
    assert capfd.readouterr() == ("", "")
    assert not caplog.records


def test_tokens_added_to_a_tokenizer_get_embeddings_at_the_mean(make_lm, tokenizer, tmp_path):
    lm = make_lm("llama")
    lm.save_pretrained(tmp_path / "lm")
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    larger = load_tokenizer(str(tmp_path / "tokenizer"))
    larger.add_special_tokens({"pad_token": "[PAD]"})

    grown = load_causal_lm(str(tmp_path / "lm"), larger)

    size = len(tokenizer)
    assert grown.config.pad_token_id == size
    assert grown.config.vocab_size == size + 1
    for old, new in ((lm.get_input_embeddings(), grown.get_input_embeddings()), (lm.lm_head, grown.lm_head)):
        assert torch.equal(new.weight[:size], old.weight)
        torch.testing.assert_close(new.weight[size], old.weight.mean(dim=0))


def test_auto_classes_load_what_was_saved(make_lm, make_classifier, tmp_path):
    lm, classifier = make_lm(), make_classifier()
    lm.save_pretrained(tmp_path / "lm")
    classifier.save_pretrained(tmp_path / "rm")
    assert same_weights(AutoModelForCausalLM.from_pretrained(tmp_path / "lm"), lm)
    assert same_weights(AutoModelForSequenceClassification.from_pretrained(tmp_path / "rm"), classifier)
