import io
import pathlib
from collections import OrderedDict, deque
from pathlib import Path

import numpy as np
import pytest
import torch

from lightning_marlhf.models.safe_checkpoint import BrokenCheckpointError, read_checkpoint, read_data, write_data
from tests.strangers import Payload


@pytest.mark.parametrize(
    "value",
    [
        *(None, True, 2**130, 1.5, 1 + 2j, "\ud800", b"x", (1, [2, {3}]), OrderedDict(a=1)),
        *(np.float64(1.5), np.bool_(True), np.int8(3), np.datetime64("2020-01-01")),
        np.random.default_rng(1).bit_generator.state,
    ],
)
def test_plain_data_comes_back_as_it_was(tmp_path, value):
    write_data({"x": value}, tmp_path / "a")
    found = read_data(tmp_path / "a")["x"]
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize("array", [np.arange(3), np.array(["a", "bc"]), np.ones((2, 1), "f2")])
def test_arrays_come_back_as_they_were(tmp_path, array):
    write_data(array, tmp_path / "a")
    found = read_data(tmp_path / "a")
    assert found.dtype == array.dtype
    assert found.tolist() == array.tolist()


@pytest.mark.parametrize(
    ("value", "named"),
    [
        (deque([1]), "collections.deque"),
        (pathlib.PurePosixPath("a"), "pathlib.PurePosixPath"),
        (np.array([None]), "ObjectDType"),
        (np.zeros(1, dtype=[("a", object)]), "ObjectDType"),
        (torch.nn.Linear(1, 1), "torch.nn.modules.linear.Linear"),
    ],
)
def test_what_could_not_be_read_again_is_refused_when_it_is_saved(tmp_path, value, named):
    with pytest.raises(ValueError, match=rf"nothing was saved.*{named}"):
        write_data({"callbacks": {"Mine": value}}, tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("opened", [False, True])
def test_code_in_a_file_is_not_run_and_named(tmp_path, opened):
    marker = tmp_path / "marker"
    torch.save({"global_step": 1, "callbacks": [Payload(marker)]}, tmp_path / "a")
    source = io.BytesIO((tmp_path / "a").read_bytes()) if opened else tmp_path / "a"
    with pytest.raises(BrokenCheckpointError, match=r"holds posix\.mkdir, which"):
        read_data(source, name="a")
    assert not marker.exists()


@pytest.mark.parametrize("content", [b"", b"garbage", b"\x80\x02]q\x00(K\x01K\x02e.", b"PK\x03\x04", b"\x80\x02." * 9])
def test_garbage_is_refused_with_the_name_of_the_file(tmp_path, content):
    (tmp_path / "a.ckpt").write_bytes(content)
    with pytest.raises(BrokenCheckpointError, match=r"a\.ckpt (cannot be read|is not a)"):
        read_checkpoint(tmp_path / "a.ckpt")


@pytest.mark.parametrize("value", [[], {}, {"global_step": "many"}])
def test_what_is_no_state_of_a_run_is_refused(tmp_path, value):
    write_data(value, tmp_path / "a.ckpt")
    with pytest.raises(BrokenCheckpointError, match="is not a training checkpoint"):
        read_checkpoint(tmp_path / "a.ckpt")


def test_a_missing_file_is_the_systems_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_checkpoint(Path(tmp_path / "nope"))
