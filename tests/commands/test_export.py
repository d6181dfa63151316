import shutil

import pytest
import torch
from huggingface_hub import HfApi

from lightning_marlhf.commands import export
from lightning_marlhf.commands import run as cli
from tests.commands.one_line import error_line
from tests.strangers import Payload


@pytest.fixture
def run_dir(toy_yaml, tmp_path):
    assert cli.main(["fit", "--config", str(toy_yaml)]) == 0
    return tmp_path / "run"


def test_a_checkpoint_becomes_what_the_finished_run_exported(run_dir, tmp_path, capsys):
    assert export.main(["export", str(run_dir), "--out", str(tmp_path / "out")]) == 0
    exported = torch.load(tmp_path / "out/weights.pt")
    finished = torch.load(run_dir / "export/weights.pt")
    assert exported.keys() == finished.keys()
    assert all(torch.equal(exported[name], finished[name]) for name in finished)
    assert "after 4 updates" in capsys.readouterr().out


def test_an_export_that_a_run_did_not_come_to_is_made_up_for(run_dir, capsys):
    assert export.main(["export", str(run_dir)]) == 1
    assert f"{run_dir / 'export'} exists" in capsys.readouterr().err
    shutil.rmtree(run_dir / "export")
    assert export.main(["export", str(run_dir)]) == 0
    assert (run_dir / "export/README.md").is_file()


def test_mistakes_are_one_line(run_dir, tmp_path, capsys):
    (tmp_path / "broken.ckpt").write_bytes(b"no checkpoint")
    torch.save({"weights": torch.zeros(1)}, tmp_path / "other.ckpt")
    of_a_run = {"state_dict": {"other": torch.zeros(1)}, "global_step": 1}
    torch.save(of_a_run | {"pytorch-lightning_version": "2.6"}, tmp_path / "foreign.ckpt")
    for arguments, status, said in (
        (["--ckpt", "best"], 1, "no checkpoint 'best' in"),
        (["--ckpt", "nope.ckpt"], 1, "no checkpoint 'nope.ckpt'; there are:"),
        (["--ckpt", tmp_path / "broken.ckpt"], 1, "broken.ckpt"),
        (["--ckpt", tmp_path / "other.ckpt"], 1, "other.ckpt"),
        (["--ckpt", tmp_path / "foreign.ckpt"], 1, "foreign.ckpt"),
        (["--out", tmp_path], 1, "--overwrite replaces it"),
        (["--pushto-hub", "me/toy"], 2, "--pushto-hub"),
    ):
        command = ["export", run_dir, "--out", tmp_path / "out", *arguments]
        assert export.main(list(map(str, command))) == status
        assert said in error_line(capsys)
    (tmp_path / "out").mkdir()
    assert export.main(["export", str(run_dir), "--out", str(tmp_path / "out"), "--overwrite"]) == 0


def test_code_that_hides_in_a_checkpoint_is_not_run_by_any_command(run_dir, toy_yaml, tmp_path, capsys):
    last, marker = run_dir / "checkpoints/last.ckpt", tmp_path / "marker"
    torch.save(torch.load(last, weights_only=True) | {"callbacks": {"x": Payload(marker)}}, last)
    resume = ["--config", str(toy_yaml), "--ckpt_path", "last", "--trainer.max_steps=8"]
    assert export.main(["export", str(run_dir), "--out", str(tmp_path / "out")]) == 1
    assert cli.main(["fit", *resume]) == 1
    assert cli.main(["validate", *resume]) == 1
    assert cli.main(["test", *resume]) == 1
    said = capsys.readouterr().err
    assert said.count("last.ckpt holds posix.mkdir") == 4
    assert "Traceback" not in said
    assert not marker.exists()


def test_a_folder_that_is_no_run_is_one_line(tmp_path, capsys):
    (tmp_path / "checkpoints").mkdir()
    torch.save({"pytorch-lightning_version": "2.6"}, tmp_path / "checkpoints/last.ckpt")
    assert export.main(["export", str(tmp_path), "--out", str(tmp_path / "out")]) == 1
    assert "has no config.yaml" in capsys.readouterr().err


# --- publishing; the Hub is a stand-in


@pytest.fixture
def hub(monkeypatch):
    asked = []
    monkeypatch.setattr(HfApi, "create_repo", lambda self, name, **more: asked.append((name, more)))
    monkeypatch.setattr(HfApi, "upload_folder", lambda self, **more: asked.append(more["folder_path"]))
    return asked


def test_a_finished_run_is_published_from_its_export(run_dir, hub, capsys):
    for named in (run_dir, run_dir / "export"):
        (run_dir / "export" / "config.json").touch()
        shutil.rmtree(run_dir / "checkpoints", ignore_errors=True)
        assert export.main(["export", str(named), "--push-to-hub", "me/toy"]) == 0
        said = capsys.readouterr().out
        assert said == f"https://huggingface.co/me/toy: published {run_dir / 'export'}\n"
    created = ("me/toy", {"private": False, "exist_ok": True})
    assert hub == [created, run_dir / "export"] * 2


def test_a_checkpoint_is_exported_and_published(run_dir, tmp_path, hub):
    out = tmp_path / "out"
    arguments = ["--out", str(out), "--push-to-hub", "me/toy", "--private"]
    assert export.main(["export", str(run_dir), *arguments]) == 0
    assert hub == [("me/toy", {"private": True, "exist_ok": True}), out]
    assert (out / "README.md").is_file()


def test_nothing_is_exported_where_the_hub_refuses(run_dir, tmp_path, capsys):
    out = tmp_path / "out"
    arguments = ["--out", str(out), "--push-to-hub", "me/toy"]
    assert export.main(["export", str(run_dir), *arguments]) == 1
    assert "me/toy was not published, as the Hugging Face Hub cannot be reached" in error_line(capsys)
    assert not out.exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--push-to-hub", "me/toy", "--ckpt", "best"], "expected --out DIR with --ckpt"),
        (["--push-to-hub", "me/toy"], "has no export/: --out DIR makes"),
    ],
)
def test_what_is_missing_is_named_before_the_hub_is_asked(tmp_path, hub, capsys, arguments, said):
    assert export.main(["export", str(tmp_path), *arguments]) == 1
    assert said in capsys.readouterr().err
    assert hub == []
