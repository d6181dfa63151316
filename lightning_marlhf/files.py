"""Text files: written atomically, read as UTF-8 line by line, with errors that name file and row. Standard library."""

import codecs
import gzip
import json
import os
import re
import tempfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, NamedTuple

BLANK = " \t\n\r\v\f"  # a line of these alone holds no row
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")  # half of a pair of escapes, or one of two halves


def write_text(path: Path, text: str) -> None:
    """Write ``text`` so that a reader sees the old file or the new one, never half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write one JSON object, indented, atomically."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """Read a file of `write_json`.

    Raises:
        ValueError: the file holds something else; names it.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not JSON: {error}") from None
    if not isinstance(value, dict):
        raise ValueError(f"{path}: expected a JSON object, got {type(value).__name__}")
    return value


def read_json_or_empty(path: Path) -> dict[str, Any]:
    """Read a file of `write_json`; an empty object where the file is missing, unreadable or damaged."""
    try:
        return read_json(path)
    except (OSError, ValueError):
        return {}


def truncate_partial_line(path: Path) -> None:
    """Truncate after the last line end: drops a row that was cut off by a kill."""
    content = path.read_bytes()
    end = content.rfind(b"\n") + 1
    if end != len(content):
        os.truncate(path, end)


class Line(NamedTuple):
    """One line of a text file."""

    offset: int  # where it begins, in bytes of what `open_bytes` gives
    text: str  # without its end


def open_bytes(path: Path) -> IO[bytes]:
    """Open a file; one whose name ends with .gz is unpacked."""
    return gzip.open(path) if path.suffix == ".gz" else path.open("rb")  # type: ignore[return-value]


def read_lines(path: Path) -> Iterator[Line]:
    """Yield the lines of a text file in UTF-8, with or without a byte-order mark.

    A line ends at a newline, perhaps after a carriage return, and nowhere else: U+2028, U+0085 and form feeds are text.

    Raises:
        ValueError: a line is no such text, or the file is a truncated gzip file; names the file and the row, from 1.
    """
    offset = 0
    with open_bytes(path) as file:
        try:
            for number, content in enumerate(file, start=1):
                yield Line(offset, decode_line(content, first=number == 1, where=f"{path}: row {number}"))
                offset += len(content)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise ValueError(f"{path}: truncated gzip file: {error}") from None


def decode_line(content: bytes, *, first: bool, where: str) -> str:
    """Read a line as UTF-8, without its end; the ``first`` of a file may begin with a byte-order mark.

    Raises:
        ValueError: it is no text in UTF-8; begins with ``where``.
    """
    content = content.removesuffix(b"\n").removesuffix(b"\r")
    try:
        text = content.removeprefix(codecs.BOM_UTF8 if first else b"").decode()
    except UnicodeDecodeError as error:
        kind = "UTF-16" if first and content[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else ""
        found = kind or f"the byte 0x{content[error.start]:02x} at position {error.start}"
        raise ValueError(f"{where}: expected text in UTF-8, got {found}; save the file as UTF-8") from None
    if "\0" in text:
        raise ValueError(f"{where}: expected text in UTF-8, got a NUL byte (as in UTF-16, or in damaged files)")
    return text


def parse_row(line: str, *, lone_surrogates: bool = False) -> dict[str, Any]:
    """Parse a line of a JSONL file.

    Args:
        line: Text of the line.
        lone_surrogates: Let texts pass that hold half of a surrogate pair, which no file and no tokenizer takes.

    Raises:
        ValueError: it is no JSON object, names a key twice, or holds half of a surrogate pair.
    """
    try:
        row = json.loads(line.removeprefix("\ufeff"), object_pairs_hook=_object)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not JSON: {error}") from None
    if not isinstance(row, dict):
        raise ValueError(f"expected a JSON object, got {type(row).__name__}")
    if not lone_surrogates and _SURROGATE.search(line) and (found := _lone_surrogate(row)):
        raise ValueError(f"expected text, got half of a surrogate pair ({found}), as in a text cut within an emoji")
    return row


def is_utf8(text: str) -> bool:
    """Return whether a text can be written; one with half of a surrogate pair cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {next(n for n in names if names.count(n) > 1)!r} is there twice")
    return found


def _lone_surrogate(row: Mapping[str, Any]) -> str:
    """Return the first half of a surrogate pair as its escape; "" where there is none."""
    try:
        json.dumps(row, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        return f"\\u{ord(error.object[error.start]):04x}"
    return ""


def read_jsonl(path: Path, *, lone_surrogates: bool = False) -> Iterator[dict[str, Any]]:
    """Yield the objects of a JSONL file, skipping blank lines.

    Args:
        path: Path of the file; see `read_lines`.
        lone_surrogates: See `parse_row`.

    Raises:
        ValueError: a line is no JSON object; names the file and the row.
    """
    rows = (line.text for line in read_lines(path) if line.text.strip(BLANK))
    for number, row in enumerate(rows, start=1):
        try:
            yield parse_row(row, lone_surrogates=lone_surrogates)
        except ValueError as error:
            raise ValueError(f"{path}: row {number}: {error}") from None
