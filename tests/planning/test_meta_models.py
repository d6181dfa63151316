"""Shapes of models without weights: the published sizes, and where a shape is looked for."""

import pytest

from lightning_marlhf.hub.sources import SourceError
from lightning_marlhf.models.configs import ModelConfig
from lightning_marlhf.planning.meta_models import PUBLISHED, architecture_of, build_on_meta

# As the Hub counts the parameters in the safetensors files; embedding and head are one matrix.
PARAMETERS = {
    "google/gemma-2b": 2_506_172_416,
    "google/gemma-7b": 8_537_680_896,
    "google/gemma-2-27b": 27_227_128_320,
    "google/codegemma-2b": 2_506_172_416,
    "google/codegemma-7b-it": 8_537_680_896,
}


def size(model):
    return sum(weight.numel() for weight in model.parameters())


def test_the_sizes_of_all_published_models_are_known():
    assert PUBLISHED.keys() == PARAMETERS.keys()


@pytest.mark.parametrize("name", PARAMETERS)
def test_a_model_on_meta_has_the_published_number_of_parameters(name):
    model = build_on_meta(name, classifier=False)
    assert size(model) == PARAMETERS[name]
    assert {weight.device.type for weight in model.parameters()} == {"meta"}


def test_a_classifier_has_the_body_and_a_head_of_one_label():
    model = build_on_meta("google/gemma-2b", classifier=True)
    assert size(model) == PARAMETERS["google/gemma-2b"] + 2048  # one weight per hidden unit
    assert model.score.weight.shape == (1, 2048)


def test_gemma_2_caps_its_logits_and_scales_its_attention_as_published():
    config = architecture_of("google/gemma-2-27b")
    assert (config.final_logit_softcapping, config.attn_logit_softcapping) == (30.0, 50.0)
    assert config.query_pre_attn_scalar == 4608 / 32


def test_an_inline_configuration_takes_the_vocabulary_of_its_tokenizer():
    source = ModelConfig({"model_type": "gemma", "hidden_size": 8, "num_hidden_layers": 1})
    model = build_on_meta(source, classifier=False, vocab_size=30)
    assert model.get_input_embeddings().weight.shape == (30, 8)


def test_a_folder_comes_before_a_published_name(make_lm, tmp_path, monkeypatch):
    make_lm("llama").save_pretrained(tmp_path / "google/gemma-2b")
    monkeypatch.chdir(tmp_path)
    assert architecture_of("google/gemma-2b").model_type == "llama"


def test_the_shape_of_a_folder_is_that_of_its_model(family, make_lm, tmp_path):
    lm = make_lm(family)
    lm.save_pretrained(tmp_path)
    built = build_on_meta(str(tmp_path), classifier=False)
    shapes = {name: weight.shape for name, weight in lm.named_parameters()}
    assert {name: weight.shape for name, weight in built.named_parameters()} == shapes


def test_an_unknown_model_is_told_in_one_line():
    with pytest.raises(SourceError, match=r"nobody/nothing is not in the local cache"):
        build_on_meta("nobody/nothing", classifier=False)
