"""What a user did wrong is one line that steers no terminal; what the program did wrong keeps its traceback."""

import errno
import os

import pytest
from safetensors import SafetensorError

from lightning_marlhf.commands import errors


@pytest.fixture
def line_of(capsys):
    """Call a function that raises; return the one line of its error."""

    def call(error):
        def run():
            raise error

        assert errors.call(run) == 1
        shown = capsys.readouterr().err
        assert shown.count("\n") == 1
        return shown.removesuffix("\n")

    return call


@pytest.mark.parametrize(
    "number", [errno.EROFS, errno.ENAMETOOLONG, errno.ELOOP, errno.EIO, errno.EEXIST, errno.EMFILE]
)
def test_what_the_system_says_of_a_file_is_one_line(number, line_of):
    assert line_of(OSError(number, os.strerror(number), "runs/x")) == f"error: {os.strerror(number)}: runs/x"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "the disk is full"),
        (OSError(errno.EDQUOT, "Disk quota exceeded", "runs/x"), "the disk is full"),
        (SafetensorError("I/O error: No space left on device (os error 28)"), "the disk is full"),
        (RecursionError("maximum recursion depth exceeded"), "nested too deeply"),
        (ValueError("column a\x1b[2J\x9b2J is missing"), "column a\ufffd[2J\ufffd2J is missing"),
    ],
)
def test_a_user_s_mistake_is_one_line_that_steers_no_terminal(error, said, line_of):
    assert said in line_of(error)


def test_an_error_without_a_file_keeps_its_traceback():
    def run():
        raise OSError("something else")

    with pytest.raises(OSError, match="something else"):
        errors.call(run)
