"""Messages over pipes: whole, in time, not too long."""

import os
import struct
import threading
import time

import pytest

from lightning_marlhf.sandbox import frames


@pytest.fixture
def pipe():
    ends = os.pipe()
    yield ends
    for end in ends:
        try:
            os.close(end)
        except OSError:
            continue


def soon():
    return time.monotonic() + 0.05


@pytest.mark.parametrize("header", [None, {"a": [1, "é"]}, "x" * 1000])
@pytest.mark.parametrize("parts", [(), (b"",), (b"ab", b"", memoryview(b"c"))])
def test_a_message_arrives_whole(pipe, header, parts):
    frames.send(pipe[1], header, *parts)
    assert frames.receive(pipe[0]) == (header, b"".join(parts))


def test_messages_do_not_run_together(pipe):
    frames.send(pipe[1], 1, b"one")
    frames.send(pipe[1], 2, b"two")
    assert [frames.receive(pipe[0]), frames.receive(pipe[0])] == [(1, b"one"), (2, b"two")]


@pytest.mark.parametrize("blocking", [True, False])
def test_a_message_may_be_longer_than_a_pipe_holds(pipe, blocking):
    long = os.urandom(1 << 20)
    os.set_blocking(pipe[1], blocking)
    deadline = None if blocking else time.monotonic() + 60
    sender = threading.Thread(target=frames.send, args=(pipe[1], "h", long), kwargs={"deadline": deadline})
    sender.start()
    assert frames.receive(pipe[0]) == ("h", long)
    sender.join()


def test_nothing_arrives_in_time(pipe):
    with pytest.raises(frames.Late):
        frames.receive(pipe[0], deadline=soon())


def test_half_a_message_is_late_too(pipe):
    os.write(pipe[1], struct.pack("!II", 4, 9) + b"null")
    with pytest.raises(frames.Late):
        frames.receive(pipe[0], deadline=soon())


def test_nobody_reads_in_time(pipe):
    os.set_blocking(pipe[1], False)
    with pytest.raises(frames.Late):
        frames.send(pipe[1], None, bytes(1 << 20), deadline=soon())


def test_the_writer_has_gone(pipe):
    os.write(pipe[1], struct.pack("!II", 4, 9) + b"null" + b"four")
    os.close(pipe[1])
    with pytest.raises(EOFError):
        frames.receive(pipe[0])


def test_the_reader_has_gone(pipe):
    os.close(pipe[0])
    with pytest.raises(BrokenPipeError):
        frames.send(pipe[1], None)


@pytest.mark.parametrize(("lengths", "said"), [((11, 0), "11 bytes: expected at most 10"), ((4, 21), "21 bytes")])
def test_a_message_that_is_too_long_is_not_read(pipe, lengths, said):
    os.write(pipe[1], struct.pack("!II", *lengths))
    with pytest.raises(ValueError, match=said):
        frames.receive(pipe[0], longest_header=10, longest_payload=20)


@pytest.mark.parametrize("header", [b"", b"{", b"\xff\xff", b"nonsense"])
def test_a_header_that_is_no_json_is_a_value_error(pipe, header):
    os.write(pipe[1], struct.pack("!II", len(header), 0) + header)
    with pytest.raises(ValueError, match=r"Expecting|decode"):
        frames.receive(pipe[0])
