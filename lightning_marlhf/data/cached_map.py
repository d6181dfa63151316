"""One step over all rows of a split: in several processes, with a progress bar, and cached under a key of our own."""

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from datasets import Dataset, Features, are_progress_bars_disabled, config
from datasets import disable_progress_bars as hide_progress
from datasets import enable_progress_bars as show_progress

_BATCH = 256
_SHORT = 2_000  # so few rows are done before anybody reads a progress bar
_LONG = 20_000  # from here on several processes are worth their start
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
    """Apply a function to batches of rows.

    Args:
        rows: what to go over.
        function: from columns, the rows' numbers, and ``settings``, to columns of as many rows as it likes.
        settings: given to ``function`` by name.
        features: of the result.
        key: all that the result depends on besides ``rows``; equal keys reuse the result on disk.
        processes: how many work; None decides by the number of rows.
        title: of the progress bar.
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
    """Return where what is made of data sets is kept; never beside the data, which may be read-only."""
    return Path(config.HF_DATASETS_CACHE) / "lightning_marlhf"


@contextmanager
def progress_bar(*, shown: bool) -> Iterator[None]:
    """Hide the bars of `datasets` where they would be gone before anybody reads them."""
    if shown or are_progress_bars_disabled():
        yield
        return
    hide_progress()
    try:
        yield
    finally:
        show_progress()
