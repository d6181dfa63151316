"""Weights in files of bounded size."""

import json

import pytest
import torch
from safetensors.torch import load_file

from lightning_marlhf.hub.sources import SourceError
from lightning_marlhf.models import streaming
from lightning_marlhf.models.streaming import Weights, write_weights
from lightning_marlhf.models.weight_files import fill_from

TENSORS = {name: torch.full((4,), float(at)) for at, name in enumerate("abc")}  # 16 bytes each


def weights(read=None, **settings):
    read = read or (lambda names: {name: TENSORS[name] for name in names})
    return Weights(dict.fromkeys(TENSORS, 16), read, **settings)


def test_small_models_are_one_file(tmp_path):
    write_weights(weights(), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]


def test_no_more_is_read_at_once_than_one_file_holds(tmp_path, monkeypatch):
    monkeypatch.setattr(streaming, "FILE_BYTES", 32)
    asked = []

    def read(names):
        asked.append(list(names))
        return {name: TENSORS[name] for name in names}

    write_weights(weights(read), tmp_path)
    assert asked == [["a", "b"], ["c"]]
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    assert index["metadata"]["total_size"] == 48
    for name, file in index["weight_map"].items():
        assert torch.equal(load_file(tmp_path / file)[name], TENSORS[name])


def test_what_was_written_is_compared_with_what_was_to_be_written(tmp_path):
    calls = []

    def read(names):
        calls.append(names)
        return {name: TENSORS[name] + len(calls) for name in names}

    with pytest.raises(OSError, match=r"does not hold what was written \(a, b, c\)"):
        write_weights(weights(read, verify=True), tmp_path)


def test_a_process_that_does_not_write_takes_part_in_the_reading(tmp_path):
    asked = []
    write_weights(weights(lambda names: asked.append(names) or {}), None)
    assert asked == [["a", "b", "c"]]


def test_a_folder_of_another_shape_or_without_weights_is_refused(make_lm, tmp_path):
    lm = make_lm()
    with pytest.raises(SourceError, match=r"has no \*\.safetensors"):
        fill_from(tmp_path, lm)
    lm.save_pretrained(tmp_path)
    lm.model.norm.weight = torch.nn.Parameter(torch.zeros(3))
    with pytest.raises(SourceError, match=r"norm\.weight as \[32\]: expected \[3\]"):
        fill_from(tmp_path, lm)


def test_weights_are_read_by_their_names_with_or_without_a_head(family, make_lm, make_classifier, tmp_path):
    """A classifier finds its body in a language model, and lacks its head."""
    lm, classifier = make_lm(family, seed=1), make_classifier(family, seed=2)
    lm.save_pretrained(tmp_path)
    (tmp_path / "._model.safetensors").write_bytes(b"left by a system")
    assert fill_from(tmp_path, classifier) == {"score.weight"}
    body, expected = classifier.base_model.state_dict(), lm.base_model.state_dict()
    assert all(torch.equal(body[name], weight) for name, weight in expected.items())
