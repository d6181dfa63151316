"""Messages over a pair of pipes: a JSON header and bytes, each with its length before it."""

import json
import os
import select
import struct
import time
from typing import Any

_LENGTHS = struct.Struct("!II")
_CHUNK = 1 << 16
LONGEST_HEADER = 1 << 16


class Late(Exception):  # noqa: N818 - says what happened
    """The other side did not read or write in time."""


def send(descriptor: int, header: Any, *payload: bytes | memoryview, deadline: float | None = None) -> None:
    """Write one message.

    Args:
        descriptor: A pipe; with a deadline, one that does not block.
        header: Anything that is JSON.
        payload: Bytes after it, in parts that are not copied.
        deadline: Time of `time.monotonic`; None: no limit.

    Raises:
        Late: the deadline has passed.
        OSError: the other side has gone.
    """
    text = json.dumps(header).encode()
    lengths = _LENGTHS.pack(len(text), sum(map(len, payload)))
    for part in (lengths + text, *payload):
        view = memoryview(part)
        while view:
            _wait(descriptor, select.POLLOUT, deadline)
            view = view[os.write(descriptor, view[:_CHUNK]) :]


def receive(
    descriptor: int,
    *,
    longest_header: int | None = None,
    longest_payload: int | None = None,
    deadline: float | None = None,
) -> tuple[Any, bytes]:
    """Read one message.

    Raises:
        Late: the deadline has passed.
        EOFError: the other side has gone.
        ValueError: the message is longer than allowed, or no JSON.
    """
    header_length, payload_length = _LENGTHS.unpack(_read(descriptor, _LENGTHS.size, deadline))
    for length, longest in (header_length, longest_header), (payload_length, longest_payload):
        if longest is not None and length > longest:
            raise ValueError(f"a message of {length} bytes: expected at most {longest}")
    header = json.loads(_read(descriptor, header_length, deadline))
    return header, _read(descriptor, payload_length, deadline)


def _read(descriptor: int, size: int, deadline: float | None) -> bytes:
    parts = bytearray()
    while len(parts) < size:
        _wait(descriptor, select.POLLIN, deadline)
        part = os.read(descriptor, min(size - len(parts), _CHUNK))
        if not part:
            raise EOFError("the other side has gone")
        parts += part
    return bytes(parts)


def _wait(descriptor: int, event: int, deadline: float | None) -> None:
    if deadline is None:
        return
    poll = select.poll()
    poll.register(descriptor, event)
    if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
        raise Late
