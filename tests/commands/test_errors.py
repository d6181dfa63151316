"""What a user did wrong is one line that steers no terminal; what the program did wrong keeps its traceback."""

import errno
import os
from pathlib import Path

import pytest
from safetensors import SafetensorError

from lightning_marlhf.commands import errors


def said(capsys, run):
    status = errors.call(run)
    shown = capsys.readouterr().err
    assert shown.count("\n") == 1
    return status, shown


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
        SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
    ],
)
def test_a_full_disk_is_one_line_whoever_says_it(error, capsys):
    def run():
        raise error

    assert errors.call(run) == 1
    shown = capsys.readouterr().err
    assert shown.startswith("error: the disk is full")
    assert shown.count("\n") == 1


def test_a_file_that_is_nested_too_deeply_is_one_line(capsys):
    def run():
        raise RecursionError("maximum recursion depth exceeded")

    assert errors.call(run) == 1
    assert "nested too deeply" in capsys.readouterr().err


def test_a_name_that_is_too_long_is_one_line(capsys):
    status, shown = said(capsys, lambda: Path("x" * 300).stat().st_size)
    assert status == 1
    assert "xxx" in shown


def test_what_a_file_holds_steers_no_terminal(capsys):
    def run():
        raise ValueError("column a\x1b[2J\x9b2J is missing")

    assert said(capsys, run)[1].startswith("error: column a\ufffd[2J\ufffd2J is missing")


def test_an_error_without_a_file_keeps_its_traceback():
    def run():
        raise OSError("something else")

    with pytest.raises(OSError, match="something else"):
        errors.call(run)
