"""Sharded checkpoints: resumed on any number of processes, never half of one, exported without the whole model."""

import json
import pickle
import shutil

import pytest
import torch
from safetensors.torch import load_file

from lightning_marlhf.models import hf_export, streaming
from lightning_marlhf.models.find_checkpoint import last_checkpoint
from lightning_marlhf.models.network_factory import NetworkFactory
from lightning_marlhf.models.policy import Policy
from lightning_marlhf.models.safe_checkpoint import BrokenCheckpointError
from lightning_marlhf.models.sharded_checkpoint import ShardedWeights, read_index, read_metadata_file
from lightning_marlhf.models.streaming import weights_in
from tests.distributed.checks import CPU, STAGES, prompts, sharded
from tests.distributed.launch import torchrun
from tests.distributed.runs import assert_alike, epochs, make, part
from tests.modules.tiny_runs import CONFIG, data, fit
from tests.strangers import Payload


def test_a_run_goes_on_from_one_to_two_to_four_processes_and_back(folder, one, two, four):
    whole = part(folder, folder / "whole", stop=16, resume=False)
    found = [*one, *two["second_part"], *four["third_part"]]
    shutil.copytree(folder / "resumed", folder / "back")
    found += part(folder, folder / "back", stop=16, resume=True, **sharded())
    assert len(whole) == 4
    assert_alike(found, whole)
    with pytest.raises(ValueError, match=r"last\.ckpt was saved without sharding"):
        part(folder, folder / "whole", stop=16, resume=True, **sharded())


@pytest.mark.parametrize("stage", STAGES)
def test_two_processes_that_stop_inside_an_epoch_go_on_inside_it(folder, two, stage):
    assert_alike(two["stopped"][stage], epochs(stage, folder, folder / f"{stage}-5", batches=5))


def test_a_kill_in_the_middle_of_a_save_leaves_the_checkpoint_before_it(folder):
    ended, said = torchrun(2, folder, "killed_while_saving")
    assert ended != 0, said
    last = last_checkpoint(folder / "killed/checkpoints")
    assert last.name == "last.ckpt"
    read_index(last)
    assert read_metadata_file(last)["global_step"] == 4
    resumed = part(folder, folder / "killed", stop=8, resume=True, **sharded())
    assert len(resumed) == 1


@pytest.fixture
def saved(folder, four, tmp_path):
    """A copy of the checkpoint of four processes."""
    return shutil.copytree(folder / "resumed/checkpoints/last.ckpt", tmp_path / "last.ckpt")


@pytest.mark.parametrize(
    ("name", "size", "said"),
    [
        ("__2_0.distcp", 100, r"__2_0\.distcp has 100 of its"),
        ("__3_0.distcp", None, r"__3_0\.distcp has 0 of its"),
        (".metadata", 50, r"\.metadata cannot be read"),
        ("meta.pt", 50, r"meta\.pt cannot be read"),
    ],
)
def test_a_checkpoint_that_is_not_whole_is_refused_with_the_name_of_the_file(saved, folder, name, size, said, tmp_path):
    if size is None:
        (saved / name).unlink()
    else:
        (saved / name).write_bytes((saved / name).read_bytes()[:size])
    with pytest.raises(BrokenCheckpointError, match=said):
        fit(make("ppo", folder), data("ppo"), tmp_path, steps=16, ckpt_path=saved, **sharded())


def hide_in_index(saved, payload):
    (saved / ".metadata").write_bytes(pickle.dumps(payload))


def hide_in_rest(saved, payload):
    torch.save(read_metadata_file(saved) | {"callbacks": {"x": payload}}, saved / "meta.pt")


def hide_in_share(saved, payload):
    """Put it in the place of a learning rate."""
    index = json.loads((saved / ".metadata").read_text())
    name = next(name for name in index if name.endswith(".lr"))
    torch.save(payload, saved / "evil.distcp")
    length = (saved / "evil.distcp").stat().st_size
    index[name]["parts"] = [{"file": "evil.distcp", "at": 0, "length": length}]
    (saved / ".metadata").write_text(json.dumps(index))


@pytest.mark.parametrize("hide", [hide_in_index, hide_in_rest, hide_in_share])
def test_code_that_hides_in_a_sharded_checkpoint_is_not_run(saved, folder, hide, tmp_path):
    hide(saved, Payload(tmp_path / "marker"))
    with pytest.raises(BrokenCheckpointError, match=r"posix\.mkdir|cannot be read"):
        fit(make("ppo", folder), data("ppo"), tmp_path, steps=16, ckpt_path=saved, **sharded())
    assert not (tmp_path / "marker").exists()


@pytest.mark.parametrize(
    "part",
    [
        {"file": "../last.ckpt/meta.pt", "at": 0, "length": 1},
        {"file": "/etc/passwd", "at": 0, "length": 1},
        {"file": "meta.pt", "at": -1, "length": 1},
        {"file": 3, "at": 0, "length": 1},
        {},
    ],
)
def test_an_index_names_its_own_files_only(saved, part):
    index = json.loads((saved / ".metadata").read_text())
    index["x"] = {"parts": [part]}
    (saved / ".metadata").write_text(json.dumps(index))
    with pytest.raises(BrokenCheckpointError, match=r"\.metadata cannot be read"):
        read_index(saved)


def test_a_sharded_checkpoint_is_refused_by_a_run_that_is_not(saved, folder, tmp_path):
    with pytest.raises(ValueError, match=r"last\.ckpt is sharded: resume under .*ShardedStrategy"):
        fit(make("ppo", folder), data("ppo"), tmp_path, steps=16, ckpt_path=saved)


def test_random_states_of_all_processes_are_kept(saved):
    assert len(read_metadata_file(saved)["random_state"]) == 4


def test_what_a_sharded_run_exports_is_what_its_checkpoint_streams(folder, two, four, tmp_path, monkeypatch):
    """Two processes exported after 8 updates; the same weights come from the checkpoint, a few at a time."""
    part(folder, folder / "resumed-two", stop=8, resume=False, **sharded())
    weights = ShardedWeights(folder / "resumed-two/checkpoints/last.ckpt")
    lm = NetworkFactory(torch.device("meta")).build(Policy, str(folder / "policy"), prompts()[1]).lm
    monkeypatch.setattr(streaming, "FILE_BYTES", 4096)
    stream = weights_in(weights, lm, prefix="policy.lm.")
    hf_export.export(lm, prompts()[1], tmp_path / "streamed", card={}, weights=stream)
    names = sorted(path.name for path in (tmp_path / "streamed").glob("*.safetensors"))
    assert len(names) > 2
    streamed = {k: x for name in names for k, x in load_file(tmp_path / "streamed" / name).items()}
    live = load_file(folder / "live/model.safetensors")
    assert live.keys() == streamed.keys() == load_file(folder / "policy/model.safetensors").keys()
    for name, weight in live.items():
        torch.testing.assert_close(streamed[name], weight, atol=1e-5, rtol=0)
    reloaded = NetworkFactory(CPU).build(Policy, str(tmp_path / "streamed"), prompts()[1]).lm
    inline = NetworkFactory(torch.device("meta")).build(Policy, CONFIG, prompts()[1]).lm
    assert weights_in(weights, inline, prefix="policy.lm.").sizes == stream.sizes
    assert torch.equal(reloaded.lm_head.weight, streamed["model.embed_tokens.weight"])
