import zipfile

import pytest
import torch

from lightning_marlhf.models.find_checkpoint import find_checkpoint


@pytest.fixture
def last(tmp_path):
    """A run's checkpoint, as Lightning saves it."""
    path = tmp_path / "checkpoints" / "last.ckpt"
    path.parent.mkdir()
    weights = {"weight": torch.arange(1000.0)}
    torch.save({"pytorch-lightning_version": "2.6.6", "state_dict": weights}, path)
    return path


def refusal(tmp_path, which="last"):
    with pytest.raises(ValueError, match="ckpt") as caught:
        find_checkpoint(tmp_path, which)
    return str(caught.value)


def test_a_whole_checkpoint_is_found(tmp_path, last):
    assert find_checkpoint(tmp_path, "last") == last
    assert find_checkpoint(tmp_path, str(last)) == last


@pytest.mark.parametrize("size", [0, 100, 4000])
def test_one_that_was_cut_off_is_refused_by_name_with_the_others(tmp_path, last, size):
    best = last.with_name("best-000004.ckpt")
    best.write_bytes(last.read_bytes())
    last.write_bytes(last.read_bytes()[:size])
    said = refusal(tmp_path)
    assert said.startswith(f"{last} is an incomplete checkpoint ({size:,} bytes)")
    assert said.endswith(f"there are: {best}")


def test_a_single_changed_bit_is_found(tmp_path, last):
    with zipfile.ZipFile(last) as file:
        record = next(each for each in file.infolist() if each.filename.endswith("data/0"))
    content = bytearray(last.read_bytes())
    content[record.header_offset + 500] ^= 1
    last.write_bytes(content)
    assert "data/0 does not match its checksum" in refusal(tmp_path)


def test_a_file_of_something_else_is_no_checkpoint(tmp_path, last):
    torch.save({"weight": torch.ones(2)}, last)
    assert "last.ckpt is no checkpoint of a run; restart with --overwrite" in refusal(tmp_path)


def test_a_missing_one_is_told_with_what_to_do(tmp_path, last):
    assert refusal(tmp_path, "best.ckpt").endswith(f"there are: {last}")
    last.unlink()
    assert "so start without --ckpt_path" in refusal(tmp_path)
