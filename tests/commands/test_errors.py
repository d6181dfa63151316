"""What a user can mend is one line."""

import errno
import os

import pytest
from safetensors import SafetensorError

from lightning_marlhf.commands import errors


@pytest.mark.parametrize(
    "number", [errno.EROFS, errno.ENAMETOOLONG, errno.ELOOP, errno.EIO, errno.EEXIST, errno.EMFILE]
)
def test_what_the_system_says_of_a_file_is_one_line(number, capsys):
    def run():
        raise OSError(number, os.strerror(number), "runs/x")

    assert errors.call(run) == 1
    assert capsys.readouterr().err == f"error: {os.strerror(number)}: runs/x\n"


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded", "runs/x"),
        SafetensorError(
            "Error while serializing: I/O error: No space left on device (os error 28)"
        ),
    ],
)
def test_a_full_disk_is_one_line_whoever_says_it(error, capsys):
    def run():
        raise error

    assert errors.call(run) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: the disk is full")
    assert said.count("\n") == 1


def test_a_file_that_is_nested_too_deeply_is_one_line(capsys):
    def run():
        raise RecursionError("maximum recursion depth exceeded")

    assert errors.call(run) == 1
    assert "nested too deeply" in capsys.readouterr().err
