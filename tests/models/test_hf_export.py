"""An export is a Hugging Face folder that comes back exactly."""

import json

import pytest
import torch
import yaml
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer, GenerationConfig

from lightning_marlhf.hub.end_tokens import response_ends
from lightning_marlhf.hub.reward_format import RewardInput
from lightning_marlhf.hub.tokenizer import load_tokenizer
from lightning_marlhf.models.hf_export import export
from lightning_marlhf.models.loading import load_causal_lm, load_sequence_classifier
from lightning_marlhf.models.model_card import provenance
from lightning_marlhf.models.network_factory import NetworkFactory
from lightning_marlhf.rollout.scoring import RewardModelScorer
from tests.published import BOS, END, EOS, GEMMA_TEMPLATE, PAD, publish

CARD = {
    "title": "Tiny TL;DR, MA-PPO",
    "description": "A policy.",
    "metrics": {"eval/gold": 3.123456789, "status": "done | ok"},
    "config": "seed: 1\ntrainer: {}",
    "run": {"nested": {"a": [1]}},
}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_language_model_comes_back_exactly(family, dtype, make_lm, make_rows, tokenizer, tmp_path):
    lm = make_lm(family, dtype=dtype)
    export(lm, tokenizer, tmp_path / "export", card=CARD)
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "export")
    ids, mask = make_rows()
    assert again.dtype == lm.dtype
    assert torch.equal(again(ids, attention_mask=mask).logits, lm(ids, attention_mask=mask).logits)
    assert (tmp_path / "export" / "model.safetensors").is_file()


def test_a_reward_model_comes_back_exactly(family, make_classifier, make_rows, tokenizer, tmp_path):
    classifier = make_classifier(family)
    export(classifier, tokenizer, tmp_path / "export", card={})
    ids, mask = make_rows()
    again = AutoModelForSequenceClassification.from_pretrained(tmp_path / "export")
    assert again.config.num_labels == 1
    assert torch.equal(again(ids, attention_mask=mask).logits, classifier(ids, attention_mask=mask).logits)


def test_the_tokenizer_and_the_generation_config_come_back(make_lm, tokenizer, tmp_path):
    export(make_lm(), tokenizer, tmp_path / "export", card={})
    again = AutoTokenizer.from_pretrained(tmp_path / "export")
    text = "who did what, when. a cat"
    assert again(text).input_ids == tokenizer(text).input_ids
    assert again.decode(again(text).input_ids) == tokenizer.decode(tokenizer(text).input_ids)
    assert again.padding_side == "left"
    settings = GenerationConfig.from_pretrained(tmp_path / "export")
    assert settings.pad_token_id == tokenizer.pad_token_id
    assert settings.eos_token_id == tokenizer.eos_token_id


def test_the_next_stage_starts_from_an_export(make_lm, make_classifier, tokenizer, tmp_path):
    export(make_lm(), tokenizer, tmp_path / "sft", card={})
    export(make_classifier(), tokenizer, tmp_path / "rm", card={})
    loaded = load_tokenizer(str(tmp_path / "sft"))
    load_causal_lm(str(tmp_path / "sft"), loaded)
    load_sequence_classifier(str(tmp_path / "sft"), loaded)
    load_sequence_classifier(str(tmp_path / "rm"), loaded)


def test_sampling_settings_of_a_published_model_do_not_break_the_export(make_lm, tokenizer, tmp_path):
    make_lm().save_pretrained(tmp_path / "published")
    path = tmp_path / "published" / "generation_config.json"
    settings = json.loads(path.read_text()) | {"temperature": 0.6, "top_p": 0.9}  # as Llama-2-chat's
    path.write_text(json.dumps(settings))
    lm = load_causal_lm(str(tmp_path / "published"), tokenizer)
    export(lm, tokenizer, tmp_path / "export", card={})
    assert GenerationConfig.from_pretrained(tmp_path / "export").temperature == 0.6


@pytest.mark.parametrize("on_meta", [False, True], ids=["whole", "on_meta"])
def test_all_tokens_that_end_a_response_come_back(tmp_path, on_meta):
    """EOS, what the published generation settings name, and the template's end of turn."""
    folder = publish(tmp_path / "published", template=GEMMA_TEMPLATE)
    path = folder / "generation_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"eos_token_id": [EOS, 9]}))
    published = load_tokenizer(str(folder))
    lm = load_causal_lm(str(folder), published, on_meta=on_meta)
    assert response_ends(lm) == [EOS, END, 9]
    if not on_meta:
        export(lm, published, tmp_path / "export", card={})
        settings = GenerationConfig.from_pretrained(tmp_path / "export")
        assert settings.eos_token_id == [EOS, END, 9]
        assert lm.config.eos_token_id == EOS


@pytest.mark.parametrize("on_meta", [False, True], ids=["whole", "on_meta"])
def test_a_pad_token_that_was_found_is_the_export_s(tmp_path, on_meta):
    folder = publish(tmp_path / "published", pad="<eos>")
    found = load_tokenizer(str(folder))
    assert found.pad_token == "<pad>"
    lm = load_causal_lm(str(folder), found, on_meta=on_meta)
    assert lm.config.pad_token_id == lm.generation_config.pad_token_id == PAD
    if not on_meta:
        export(lm, found, tmp_path / "export", card={})
        again = load_tokenizer(str(tmp_path / "export"))
        assert again.pad_token_id == PAD
        assert AutoModelForCausalLM.from_pretrained(tmp_path / "export").config.pad_token_id == PAD


def test_a_published_model_without_settings_ends_with_eos_alone(tmp_path):
    folder = publish(tmp_path / "published")
    (folder / "generation_config.json").unlink()
    config = json.loads((folder / "config.json").read_text()) | {"eos_token_id": BOS}  # by mistake
    (folder / "config.json").write_text(json.dumps(config))
    for on_meta in (False, True):
        lm = load_causal_lm(str(folder), load_tokenizer(str(folder)), on_meta=on_meta)
        assert response_ends(lm) == [EOS]
        assert lm.generation_config.eos_token_id == EOS


def test_an_older_export_is_replaced_whole_and_nothing_is_left_beside_it(make_lm, tokenizer, tmp_path):
    export(make_lm(seed=1), tokenizer, tmp_path / "export", card={})
    (tmp_path / "export" / "stale").touch()
    export(make_lm(seed=2), tokenizer, tmp_path / "export", card={})
    assert not (tmp_path / "export" / "stale").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["export"]
    again = load_causal_lm(str(tmp_path / "export"), tokenizer)
    assert torch.equal(again.lm_head.weight, make_lm(seed=2).lm_head.weight)


def test_an_export_takes_the_place_of_a_link_to_nowhere(make_lm, tokenizer, tmp_path):
    folder = tmp_path / "export"
    folder.symlink_to(tmp_path / "nowhere")
    export(make_lm("llama"), tokenizer, folder, card={})
    assert (folder / "config.json").is_file()


def test_an_end_that_is_a_text_is_none(make_lm):
    lm = make_lm("llama")
    lm.generation_config.eos_token_id = "<eos>"
    assert response_ends(lm) == []


def test_an_export_that_fails_leaves_the_older_one(make_lm, tokenizer, tmp_path):
    export(make_lm(), tokenizer, tmp_path / "export", card={})

    class Broken:
        def save_pretrained(self, folder):
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        export(make_lm(), Broken(), tmp_path / "export", card={})
    assert [path.name for path in tmp_path.iterdir()] == ["export"]
    AutoModelForCausalLM.from_pretrained(tmp_path / "export")


def write_run(model, data):
    return yaml.safe_dump({"model": {"init_args": model}, "data": {"init_args": data}})


def test_the_front_matter_names_the_hub_ids_that_a_run_was_made_of():
    config = write_run({"model": "google/gemma-2b"}, {"source": "Dahoas/full-hh-rlhf"})
    assert provenance(config) == {"base_model": "google/gemma-2b", "datasets": ["Dahoas/full-hh-rlhf"]}
    parts = [{"init_args": {"source": source}} for source in ("a/b", "rows.jsonl", "a/b", "c/d")]
    assert provenance(write_run({"model": {"config": {}}}, {"parts": parts})) == {"datasets": ["a/b", "c/d"]}


def test_what_a_local_model_was_made_of_is_handed_on(make_lm, tokenizer, tmp_path):
    config = write_run({"model": "google/gemma-2b"}, {"source": "a/b"})
    export(make_lm(), tokenizer, tmp_path / "sft", card={"configuration": config})
    config = write_run({"policy": str(tmp_path / "sft")}, {"source": "c/d"})
    assert provenance(config) == {"base_model": "google/gemma-2b", "datasets": ["a/b", "c/d"]}


def test_a_local_folder_of_two_names_is_no_hub_id(tmp_path, monkeypatch):
    (tmp_path / "models" / "gemma").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert provenance(write_run({"model": "models/gemma"}, {"source": "models/gemma"})) == {}


@pytest.mark.parametrize("config", ["", "a: [", "- 1", "model: 3\ndata: x", "model: {init_args: 1}"])
def test_a_configuration_that_says_nothing_adds_nothing(config):
    assert provenance(config) == {}


def test_the_snippet_of_the_card_runs(make_lm, make_classifier, tokenizer, tmp_path, monkeypatch):
    for name, model in (("lm", make_lm()), ("rm", make_classifier())):
        export(model, tokenizer, tmp_path / name, card={})
        text = (tmp_path / name / "README.md").read_text()
        code = text.split("## How to use\n\n```python\n")[1].split("```")[0]
        said = []
        monkeypatch.chdir(tmp_path / name)
        code = code.replace("a prompt as in training", "a").replace("max_new_tokens=64", "max_new_tokens=2")
        exec(code, {"print": said.append})
        assert len(said) == 1


@pytest.mark.parametrize("chat", [False, True])
@pytest.mark.parametrize("joined", [False, True])
def test_the_snippet_of_a_reward_model_s_card_gives_the_score(tmp_path, monkeypatch, chat, joined):
    folder = publish(tmp_path / "published", "reward_model", template=GEMMA_TEMPLATE)
    published = AutoModelForSequenceClassification.from_pretrained(folder)
    RewardInput(joined, chat).write(published.config)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    export(published, tokenizer, tmp_path / "rm", card={})
    scorer = RewardModelScorer(str(tmp_path / "rm"))
    scorer.load(NetworkFactory(torch.device("cpu")))
    asked = [[{"role": "user", "content": "what i"}]] if chat else None
    expected = scorer.score_texts(["what i"], ["s it?"], [True], asked).item()
    text = (tmp_path / "rm" / "README.md").read_text()
    code = text.split("## How to use\n\n```python\n")[1].split("```")[0]
    said = []
    monkeypatch.chdir(tmp_path / "rm")
    code = code.replace('"prompt"', '"what i"').replace('"response"', '"s it?"')
    exec(code, {"print": said.append})
    assert said == pytest.approx([expected], abs=1e-5)


def test_the_model_card_has_front_matter_and_a_section_per_entry(make_lm, make_classifier, tokenizer, tmp_path):
    export(make_lm(), tokenizer, tmp_path / "export", card=CARD)
    card = (tmp_path / "export" / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: transformers\npipeline_tag: text-generation\n")
    assert "# Tiny TL;DR, MA-PPO\n\nA policy.\n" in card
    assert "## Metrics\n\n| name | value |\n|---|---|\n| eval/gold | 3.1235 |\n| status | done \\| ok |" in card
    assert "## Config\n\n```\nseed: 1\ntrainer: {}\n```" in card
    assert '"nested"' in card

    export(make_classifier(), tokenizer, tmp_path / "rm", card={})
    card = (tmp_path / "rm" / "README.md").read_text()
    assert "pipeline_tag: text-classification" in card
    assert "# GemmaForSequenceClassification, trained with lightning_marlhf" in card


@pytest.mark.parametrize(
    ("given", "aside"),
    [
        ({"temperature": 0.9, "top_p": 0.6}, ["temperature", "top_p"]),  # as Vicuna's
        ({"do_sample": True, "temperature": 0.3, "length_penalty": 2.0}, ["length_penalty"]),
        ({"do_sample": True, "top_k": 20, "output_scores": True}, ["output_scores"]),
    ],
)
def test_a_base_model_s_settings_are_kept_where_valid_and_named_where_not(make_lm, tokenizer, tmp_path, given, aside):
    lm = make_lm()
    lm.generation_config = GenerationConfig(eos_token_id=[1, 3])
    for name, value in given.items():  # as a file is read, whose settings are not judged together
        setattr(lm.generation_config, name, value)
    with pytest.warns(UserWarning, match="generation_config.json") as told:
        export(lm, tokenizer, tmp_path / "export", card={})
    saved = json.loads((tmp_path / "export/generation_config.json").read_text())
    assert saved["eos_token_id"] == [1, 3]
    for name, value in given.items():
        assert (name in str(told[0].message)) is (name in aside)
        assert (name in saved) is (name not in aside), value
