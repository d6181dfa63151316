"""Every way in which a source can fail gives one line that says what to do."""

import json
from functools import partial

import pytest
import torch
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError

from lightning_marlhf.hub import sources
from lightning_marlhf.hub.sources import SourceError, locate
from lightning_marlhf.hub.tokenizer import load_tokenizer
from lightning_marlhf.models.loading import load_causal_lm
from tests.strangers import Payload


def refused(call, *arguments):
    with pytest.raises(SourceError) as raised:
        call(*arguments)
    message = str(raised.value)
    assert "\n" not in message
    return message


def hub_that_raises(monkeypatch, error):
    def auth_check(repository):
        raise error

    monkeypatch.setattr(sources, "auth_check", auth_check)


def http_error(kind, message):
    """Make an error of the Hub's client without the response that its constructor reads."""
    error = kind.__new__(kind)
    Exception.__init__(error, message)
    return error


def test_a_folder_with_a_model_is_found(make_lm, tmp_path):
    make_lm().save_pretrained(tmp_path)
    assert locate(str(tmp_path)) == str(tmp_path)


@pytest.mark.parametrize(
    "path", ["runs/tiny/tldr/sft/seed-1/export", "/nowhere/model", "./model", "../model", "~/nowhere"]
)
def test_a_missing_folder_is_told_as_such(path):
    message = refused(locate, path)
    assert f"{path} does not exist" in message
    assert "run the stage that writes it" in message


def test_a_folder_without_a_model_is_told_as_such(tmp_path):
    assert "holds no config.json: expected a Hugging Face folder" in refused(locate, str(tmp_path))
    assert "holds no tokenizer.json" in refused(load_tokenizer, str(tmp_path))


def test_no_network_is_told_as_such():
    # The tests run with HF_HUB_OFFLINE=1, so this is the Hub client's own response.
    message = refused(locate, "google/gemma-2b")
    assert "google/gemma-2b is not in the local cache, and the Hugging Face Hub cannot be reached" in message
    assert "connect and try again, or give a folder" in message


def test_a_gated_model_names_the_licence_page_and_the_login(monkeypatch):
    hub_that_raises(monkeypatch, http_error(GatedRepoError, "403 Client Error"))
    message = refused(locate, "google/gemma-2b")
    assert "is gated: accept its licence at https://huggingface.co/google/gemma-2b" in message
    assert "hf auth login" in message


def test_an_unknown_or_private_model_says_to_check_the_spelling_or_log_in(monkeypatch):
    hub_that_raises(monkeypatch, http_error(RepositoryNotFoundError, "401 Client Error"))
    message = refused(locate, "google/gema-2b")
    assert "neither a folder here nor a Hub model" in message
    assert "hf auth login" in message


@pytest.mark.parametrize("error", [http_error(HfHubHTTPError, "503 Server Error\nRequest ID: 1"), OSError("proxy")])
def test_a_hub_in_trouble_is_told_in_one_line(monkeypatch, error):
    hub_that_raises(monkeypatch, error)
    assert str(error).splitlines()[0] in refused(locate, "google/gemma-2b")


def test_a_cached_model_is_used_when_the_hub_does_not_response(monkeypatch, tmp_path):
    monkeypatch.setattr(sources, "snapshot_download", lambda repository, local_files_only: str(tmp_path))
    assert locate("google/gemma-2b") == str(tmp_path)


def test_a_model_that_the_hub_grants_is_left_to_transformers(monkeypatch):
    monkeypatch.setattr(sources, "auth_check", lambda repository: None)
    assert locate("google/gemma-2b") == "google/gemma-2b"


@pytest.mark.parametrize(
    ("content", "expected"),
    [("{", "cannot be loaded"), ("{}", "cannot be loaded"), ('{"model_type": "gema"}', "cannot be loaded")],
)
def test_a_broken_configuration_is_told_in_one_line(tokenizer, tmp_path, content, expected):
    (tmp_path / "config.json").write_text(content)
    assert expected in refused(load_causal_lm, str(tmp_path), tokenizer)


def test_broken_weights_are_told_in_one_line(make_lm, tokenizer, tmp_path):
    make_lm().save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"broken")
    assert "cannot be loaded" in refused(load_causal_lm, str(tmp_path), tokenizer)
    (tmp_path / "model.safetensors").unlink()
    assert "cannot be loaded" in refused(load_causal_lm, str(tmp_path), tokenizer)


def test_code_in_weights_is_not_run_and_named(make_lm, tokenizer, tmp_path):
    make_lm().save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    torch.save({"x": Payload(tmp_path / "marker")}, tmp_path / "pytorch_model.bin")
    assert "asks for posix.mkdir" in refused(load_causal_lm, str(tmp_path), tokenizer)
    assert not (tmp_path / "marker").exists()


@pytest.mark.parametrize("load", [load_tokenizer, partial(load_causal_lm, tokenizer=None)], ids=["tokenizer", "model"])
def test_code_that_comes_with_a_model_is_never_run(tmp_path, monkeypatch, load):
    monkeypatch.setattr("builtins.input", lambda prompt: "y")  # to transformers' question
    code = f"import os\nos.mkdir({str(tmp_path / 'marker')!r})\nclass Own: pass\n"
    (tmp_path / "own.py").write_text(code)
    files = {"AutoConfig": "own.Own", "AutoTokenizer": ["own.Own", None]}
    settings = {"model_type": "own", "auto_map": files}
    for name in ("config.json", "tokenizer_config.json"):
        (tmp_path / name).write_text(json.dumps(settings))
    assert "auto_map" in refused(load, str(tmp_path))
    assert not (tmp_path / "marker").exists()
