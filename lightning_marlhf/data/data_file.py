"""A data file as a `Dataset`: converted once to Arrow, and found again in the cache by the content of the file.

The file is opened by its own path: nothing in a path is a pattern, and nothing beside the file is looked at.
"""

import hashlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Dataset

from lightning_marlhf.data.cached_map import cache_folder
from lightning_marlhf.files import read_lines
from lightning_marlhf.hub.sources import SourceError, first_line

LINE = "text"  # the one column of a file of JSON lines
SUFFIXES = (".jsonl", ".parquet", ".jsonl.gz")
_LINES = pa.schema({LINE: pa.string()})
_BATCH_CHARACTERS = 16_000_000


def load_file(file: Path) -> Dataset:
    """Load the rows of a file, those of .jsonl as lines of text.

    Raises:
        SourceError: the file has another ending, is empty or cannot be read, or the cache cannot be written; names the
            file, and the row of a line that is no text.
    """
    if not file.name.endswith(SUFFIXES):
        raise SourceError(f"{file}: expected a file that ends with {', '.join(SUFFIXES)}")
    if not file.is_file():
        raise SourceError(
            f"{file}: expected a file, which can be read again, not a pipe or a device"
        )
    cached = cache_folder() / f"{_content_hash(file)}.arrow"
    if not cached.is_file():
        _convert(file, cached)
    try:
        rows = Dataset.from_file(str(cached))
    except (ValueError, KeyError) as error:  # columns that `datasets` does not know, or of one name
        raise SourceError(f"{file} cannot be read: {first_line(error)}") from None
    if not len(rows):
        raise SourceError(f"{file} is empty: expected one row a line")
    return rows


def _content_hash(file: Path) -> str:
    """Hash the whole file each time, so that every edit is seen, whatever size and time of modification say.

    Of 1 GB of JSON lines in the page cache this takes 0.7 s of CPU time in each process (x86-64 with SHA extensions);
    the conversion, once, 5 s more.
    """
    with file.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
    kind = next(suffix for suffix in SUFFIXES if file.name.endswith(suffix))
    return f"{digest[:32]}{kind}"


def _convert(file: Path, cached: Path) -> None:
    """Write the rows as Arrow; another process sees all of them or none."""
    try:
        rows = _parquet_rows(file) if file.suffix == ".parquet" else _lines(file)
        cached.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cached.parent) as folder:
            new = str(Path(folder) / cached.name)
            with pa.ipc.new_stream(new, rows.schema) as writer:
                for batch in rows:
                    writer.write_batch(batch)
            os.replace(new, cached)
    except (ValueError, OSError) as error:
        said = first_line(error)
        # pyarrow tells broken content as an OSError, too, but without a number
        if getattr(error, "errno", None) is None:
            raise SourceError(
                said if str(file) in said else f"{file} cannot be read: {said}"
            ) from None
        raise SourceError(
            f"{file}: its rows cannot be kept in {cached.parent}: {said}; free some space "
            "there, or name another folder with HF_DATASETS_CACHE"
        ) from error


def _parquet_rows(file: Path) -> pa.RecordBatchReader:
    stored = pq.ParquetFile(file)
    return pa.RecordBatchReader.from_batches(stored.schema_arrow, stored.iter_batches())


def _lines(file: Path) -> pa.RecordBatchReader:
    return pa.RecordBatchReader.from_batches(_LINES, _line_batches(file))


def _line_batches(file: Path) -> Iterator[pa.RecordBatch]:
    batch: list[str] = []
    characters = 0
    for line in read_lines(file):
        batch.append(line.text)
        characters += len(line.text)
        if characters >= _BATCH_CHARACTERS:
            yield pa.record_batch([pa.array(batch, pa.string())], _LINES)
            batch, characters = [], 0
    yield pa.record_batch([pa.array(batch, pa.string())], _LINES)
