"""What a user did wrong is one line that steers no terminal; what the program did wrong keeps its traceback."""

import errno
import os
from pathlib import Path

import pytest

from lightning_marlhf.commands import errors


def said(capsys, run):
    status = errors.call(run)
    shown = capsys.readouterr().err
    assert shown.count("\n") == 1
    return status, shown


@pytest.mark.parametrize("code", [errno.ENAMETOOLONG, errno.EROFS, errno.ELOOP, errno.EACCES])
def test_a_file_that_cannot_be_used_is_one_line_with_its_name(capsys, code):
    def run():
        raise OSError(code, os.strerror(code), "some/file")

    assert said(capsys, run) == (1, f"error: {os.strerror(code)}: some/file\n")


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
