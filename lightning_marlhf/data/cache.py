"""The cache of prepared data: its folder, its keys, and one step over all rows of a split, stored under such a key.

A key is made of the source's fingerprint (`source.py`: the content of the files), the reader with its settings and code
(`describe_reader`), and for tokens the tokenizer and the lengths (`encoding.py`).
"""

import dataclasses
import hashlib
import inspect
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from datasets import Dataset, Features, are_progress_bars_disabled, config
from datasets import disable_progress_bars as hide_progress
from datasets import enable_progress_bars as show_progress
from transformers import PreTrainedTokenizerBase

from lightning_marlhf.hub.vocabulary import fingerprint
from lightning_marlhf.tasks import rows as task_rows

_BATCH = 256
_SHORT = 2_000  # fewer rows show no progress bar
_LONG = 20_000  # from here on several processes work
_MOST_PROCESSES = 8


def cached_map(
    rows: Dataset,
    function: Callable[..., dict[str, list[Any]]],
    *,
    settings: Mapping[str, Any],
    features: Features,
    key: tuple[str, ...],
    processes: int | None,
    title: str,
) -> Dataset:
    """Apply a function to batches of rows, and keep the result in the cache.

    Args:
        rows: The input.
        function: Maps columns, the rows' numbers and ``settings`` to columns, of any number of rows.
        settings: Keyword arguments of ``function``.
        features: The columns of the result.
        key: Everything else the result depends on; equal keys reuse the cached result.
        processes: Number of processes; None decides by the number of rows.
        title: Title of the progress bar.
    """
    if not len(rows):
        return Dataset.from_dict({name: [] for name in features}, features=features)
    if processes is None and len(rows) >= _LONG:
        processes = min(_MOST_PROCESSES, os.cpu_count() or 1)
    parts = "\0".join([rows._fingerprint, *key])
    fingerprint = hashlib.sha256(parts.encode()).hexdigest()[:32]
    stored = cache_folder() / f"{fingerprint}.arrow" if rows.cache_files else None
    with progress_bar(shown=len(rows) >= _SHORT):
        return rows.map(
            function,
            batched=True,
            batch_size=_BATCH,
            with_indices=True,
            fn_kwargs=dict(settings),
            remove_columns=rows.column_names,
            features=features,
            num_proc=processes if processes and processes > 1 else None,
            new_fingerprint=fingerprint,
            cache_file_name=None if stored is None else str(stored),
            desc=title,
        )


def cache_folder() -> Path:
    """Return the cache folder; not the data's own folder, which may be read-only."""
    return Path(config.HF_DATASETS_CACHE) / "lightning_marlhf"


@contextmanager
def progress_bar(*, shown: bool) -> Iterator[None]:
    """Show or hide the progress bars of `datasets`."""
    if shown or are_progress_bars_disabled():
        yield
        return
    hide_progress()
    try:
        yield
    finally:
        show_progress()


def describe_reader(reader: Any) -> str:
    """Describe a reader of rows for a key: its settings, and the code of it and of all of `tasks`.

    So a change of a prompt format never reuses old rows.
    """
    package = Path(task_rows.__file__).parent
    code = "".join(file.read_text(encoding="utf-8") for file in sorted(package.glob("*.py")))
    own = "".join(inspect.getsource(sys.modules[name]) for name in sorted(_modules_of(reader)))
    return f"{describe_value(reader)} {hashlib.sha256((code + own).encode()).hexdigest()}"


def describe_value(value: Any) -> str:
    """Write a reader's settings so that equal settings give equal texts in every process."""
    if dataclasses.is_dataclass(value):
        settings = ((f.name, getattr(value, f.name)) for f in dataclasses.fields(value))
        inner = ", ".join(f"{name}={describe_value(setting)}" for name, setting in settings)
        return f"{type(value).__qualname__}({inner})"
    if isinstance(value, partial):
        return f"{describe_value(value.func)}{sorted(value.keywords.items())}"
    if isinstance(value, PreTrainedTokenizerBase):
        return fingerprint(value)
    return value.__qualname__ if inspect.isfunction(value) else repr(value)


def _modules_of(reader: Any) -> set[str]:
    """Name the modules that a reader and the readers inside it are written in."""
    if not dataclasses.is_dataclass(reader):
        return set()
    inside = (_modules_of(getattr(reader, field.name)) for field in dataclasses.fields(reader))
    return {type(reader).__module__}.union(*inside)
