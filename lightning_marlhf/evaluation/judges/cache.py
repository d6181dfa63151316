"""SQLite cache of judge replies."""

import hashlib
import json
import os
import sqlite3
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from lightning_marlhf.evaluation.judges import JudgeError

_LOCK_TIMEOUT_S = 60.0  # while another process writes
_TABLE = "CREATE TABLE IF NOT EXISTS replies (key TEXT PRIMARY KEY, value TEXT NOT NULL)"


def default_path() -> Path:
    """Return the file that all judges of a user share by default."""
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return folder / "lightning_marlhf" / "judge.sqlite"


class Cache:
    """JSON values by keys; several threads and processes may use one file, and writes are atomic.

    Args:
        path: Path of the file, which is created if missing.

    Raises:
        JudgeError: The file is something else, or cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._base = sqlite3.connect(path, timeout=_LOCK_TIMEOUT_S, isolation_level=None, check_same_thread=False)
            self._execute(_TABLE)
        except sqlite3.Error as error:
            raise self._refusal(error) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._base.close()

    def get(self, key: str) -> Any:
        """Return a value, or None if there is none."""
        rows = self._execute("SELECT value FROM replies WHERE key = ?", key)
        return json.loads(rows[0][0]) if rows else None

    def put(self, key: str, value: Any) -> None:
        """Store a value durably."""
        self._execute("INSERT OR REPLACE INTO replies VALUES (?, ?)", key, json.dumps(value))

    def _execute(self, statement: str, *values: str) -> Sequence[Any]:
        try:
            with self._lock:
                return self._base.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            raise self._refusal(error) from None

    def _refusal(self, error: sqlite3.Error) -> JudgeError:
        return JudgeError(f"cannot use {self.path} as cache of replies: {error}")


def key_of(*, judge: str, settings: Mapping[str, Any], version: str, texts: tuple[str, str, str]) -> str:
    """Hash everything that affects a reply; ``texts`` are the prompt, the first and the second response."""
    content = json.dumps([judge, dict(sorted(settings.items())), version, *texts])
    return hashlib.sha256(content.encode()).hexdigest()
