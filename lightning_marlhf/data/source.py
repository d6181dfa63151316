"""Loads the stored rows of a data set: from the Hub, a folder, or one file.

JSON lines stay lines of text, and are parsed row by row later: an error names the row, and no schema is guessed. A file
is converted to Arrow once, and found again in the cache by its content. It is opened by its own path: nothing in a path
is a glob pattern, and no neighbouring file is read.
"""

import hashlib
import logging
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Dataset, DatasetDict

from lightning_marlhf.data.cache import cache_folder
from lightning_marlhf.files import read_lines
from lightning_marlhf.hub.sources import SourceError, first_line

LINE = "text"  # the one column of a file of JSON lines
SUFFIXES = (".jsonl", ".parquet", ".jsonl.gz")
_LINES = pa.schema({LINE: pa.string()})
_BATCH_CHARACTERS = 16_000_000
_HELD_OUT = ("valid", "validation", "test", "eval")
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Source:
    """The splits of a data set as they are stored."""

    name: str
    train: Dataset
    held_out: Dataset | None  # None if the source has no validation or test split


@dataclass(frozen=True)
class HubData:
    """A data set on the Hub: its configuration and the known number of rows of each split."""

    repository: str
    rows: Mapping[str, int]
    config: str | None = None


def load_source(source: str, *, hub: HubData) -> Source:
    """Load a data set's splits.

    Args:
        source: A Hub id; a folder with train.jsonl and valid.jsonl (or .parquet), one that ``save_to_disk`` wrote,
            or one with a single data file; or a data file, which is then all training rows.
        hub: Facts about the original data set on the Hub.

    Raises:
        SourceError: It cannot be loaded; says what was expected and what to do.
    """
    path = Path(source).expanduser()
    if path.exists():
        return _pick_splits(source, _local(path))
    looks_like_path = source.startswith((".", "/", "~")) or source.count("/") != 1
    if looks_like_path or source.endswith(SUFFIXES):
        raise SourceError(
            f"data source {source} does not exist: expected a Hub id (owner/name), a folder with train.jsonl and "
            "valid.jsonl (or .parquet), or a data file"
        )
    splits = _from_hub(source, hub.config if source == hub.repository else None)
    if source == hub.repository:
        _compare_counts(splits, hub)
    return _pick_splits(source, splits)


def _local(path: Path) -> Mapping[str, Dataset]:
    if not path.is_dir():
        return {"train": load_file(path)}
    if (path / "dataset_dict.json").is_file() or (path / "state.json").is_file():
        saved = _reading(str(path), lambda: datasets.load_from_disk(str(path)))
        return saved if isinstance(saved, DatasetDict) else {"train": saved}
    files = sorted(
        f for f in path.iterdir() if f.name.endswith(SUFFIXES) and not f.name.startswith(".") and f.is_file()
    )
    # train.jsonl, but not train.raw.jsonl
    named = {
        name: [file for file in files if file.name in {name + suffix for suffix in SUFFIXES}]
        for name in ("train", *_HELD_OUT)
    }
    held_out = next((name for name in _HELD_OUT if named[name]), "train")
    if named["train"]:
        return {name: load_file(_the_one(named[name])) for name in ("train", held_out)}
    if len(files) == 1:
        return {"train": load_file(files[0])}
    found = ", ".join(file.name for file in files[:5]) or "no data file"
    raise SourceError(
        f"data source {path}: expected train.jsonl (or train.parquet) and valid.jsonl next to it, or a folder written "
        f"by save_to_disk; found {found}"
    )


def _the_one(files: Sequence[Path]) -> Path:
    """Refuse a split that is there in several formats, of which one may be stale."""
    if len(files) > 1:
        raise SourceError(
            f"data source {files[0].parent}: {' and '.join(file.name for file in files)} are both there: keep one, or "
            "give the file that is meant"
        )
    return files[0]


def _from_hub(repository: str, config: str | None) -> Mapping[str, Dataset]:
    """Try the repository as it is, the Hub's own conversion to Parquet, and plain JSON lines, in this order.

    `datasets` runs no loading scripts, by which several of the paper's data sets were published.
    """
    attempts: dict[str, Callable[[], Any]] = {
        "as published": lambda: datasets.load_dataset(repository, config),
        "converted to Parquet by the Hub": lambda: datasets.load_dataset(
            repository, data_dir=config or "default", revision="refs/convert/parquet"
        ),
        "plain JSON lines": lambda: datasets.load_dataset(
            "text", data_files={split: f"hf://datasets/{repository}/{split}.jsonl" for split in ("train", "test")}
        ),
    }
    problems = []
    for way, load in attempts.items():
        try:
            splits = load()
        except Exception as error:  # whatever the Hub's client, the network or a builder raises
            problems.append(f"{way}: {first_line(error)}")
            if isinstance(error, ConnectionError):
                break
        else:
            _log.info("%s: loaded %s", repository, way)
            return splits  # type: ignore[no-any-return]
    raise SourceError(
        f"data source {repository} cannot be loaded from the Hugging Face Hub ({'; '.join(problems)}): check the id, "
        "the network and `hf auth login`, or give a folder with train.jsonl and valid.jsonl as data.init_args.source"
    )


def _compare_counts(splits: Mapping[str, Dataset], hub: HubData) -> None:
    """Warn where a split has not the rows that the paper's splits were cut from."""
    for split, expected in hub.rows.items():
        found = len(splits[split]) if split in splits else 0
        if found != expected:
            _log.warning(
                "%s has %s rows in %s, where %s were known: the paper's split by row index does not apply",
                hub.repository,
                f"{found:,}",
                split,
                f"{expected:,}",
            )


def _pick_splits(name: str, splits: Mapping[str, Dataset]) -> Source:
    if "train" not in splits:
        raise SourceError(f"data source {name} has no train split: found {', '.join(splits)}")
    held_out = next((splits[split] for split in _HELD_OUT if split in splits), None)
    return Source(name, splits["train"], held_out)


def _reading(name: str, load: Callable[[], Any]) -> Any:
    try:
        return load()
    except Exception as error:  # a DatasetGenerationError hides the cause
        raise SourceError(f"{name} cannot be read: {first_line(error.__cause__ or error)}") from error


def load_file(file: Path) -> Dataset:
    """Load the rows of a file, those of .jsonl as lines of text.

    Raises:
        SourceError: the file has another ending, is empty or cannot be read, or the cache cannot be written; names the
            file, and the row of a line that is no text.
    """
    if not file.name.endswith(SUFFIXES):
        raise SourceError(f"{file}: expected a file that ends with {', '.join(SUFFIXES)}")
    if not file.is_file():
        raise SourceError(f"{file}: expected a file, which can be read again, not a pipe or a device")
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
    """Hash the full file each time, so that every edit is seen, whatever size and time of modification say.

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
        if file.suffix == ".parquet":
            stored = pq.ParquetFile(file)
            rows = pa.RecordBatchReader.from_batches(stored.schema_arrow, stored.iter_batches())
        else:
            rows = pa.RecordBatchReader.from_batches(_LINES, _line_batches(file))
        cached.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cached.parent) as folder:
            new = str(Path(folder) / cached.name)
            with pa.ipc.new_stream(new, rows.schema) as writer:
                for batch in rows:
                    writer.write_batch(batch)
            os.replace(new, cached)
    except (ValueError, OSError) as error:
        message = first_line(error)
        # pyarrow also raises OSError for broken content, but without a number
        if getattr(error, "errno", None) is None:
            raise SourceError(message if str(file) in message else f"{file} cannot be read: {message}") from None
        raise SourceError(
            f"{file}: its rows cannot be cached in {cached.parent}: {message}; free some space "
            "there, or name another folder with HF_DATASETS_CACHE"
        ) from error


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
