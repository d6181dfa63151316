"""The file of people's verdicts, which is at every moment a whole one: `win-rate` reads it as it is.

A verdict is appended and on disk before the next pair is shown. A withdrawn one leaves the file by a new file in the
place of the old one, in one step. So there is no journal, and nothing to export.
"""

import fcntl
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from lightning_marlhf.evaluation.pairs import Pair
from lightning_marlhf.files import cut_unfinished_line, read_jsonl
from lightning_marlhf.records import Verdict, append_jsonl, write_jsonl

KIND = "human:"  # of judges


class VerdictFile:
    """At most one verdict of each person on each pair, in the order in which they were given.

    Args:
        path: where they are; they go on from what is there.

    Raises:
        ValueError: another process writes the file, or it holds something else.
    """

    def __init__(self, path: Path) -> None:
        if path.exists() and not path.is_file():
            raise ValueError(f"--out {path}: expected a file")
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path.resolve()  # a link stays one when its file is replaced
        self._lock = _lock(self.path)
        if path.exists():
            cut_unfinished_line(path)
        self._rows = {(row.judge, row.pair_id): row for row in _read(path)}

    def __iter__(self) -> Iterator[Verdict]:
        return iter(self._rows.values())

    def find(self, judge: str, pair_id: str) -> Verdict | None:
        """Return a person's verdict on a pair, if there is one."""
        return self._rows.get((judge, pair_id))

    def check(self, pairs: Iterable[Pair]) -> None:
        """Refuse a file of verdicts on anything but ``pairs``.

        Raises:
            ValueError: a verdict is on another pair, or on other texts.
        """
        fingerprints = {pair.pair_id: pair.fingerprint for pair in pairs}
        for number, row in enumerate(self._rows.values(), start=1):
            if fingerprints.get(row.pair_id) != row.fingerprint:
                raise ValueError(
                    f"{self.path} holds verdicts on other answers (row {number}): give another --out"
                )

    def add(self, verdict: Verdict) -> None:
        """Keep a verdict; it is on disk when this returns.

        Raises:
            OSError: it cannot be written; the file is as it was.
        """
        try:
            append_jsonl(self.path, [verdict])
        except OSError:
            if self.path.exists():
                cut_unfinished_line(self.path)
            raise
        self._rows[verdict.judge, verdict.pair_id] = verdict

    def withdraw(self, judge: str, pair_id: str) -> Verdict:
        """Take a verdict out of the file, and return it."""
        verdict = self._rows[judge, pair_id]
        write_jsonl(self.path, (row for row in self._rows.values() if row is not verdict))
        _sync_folder(self.path.parent)  # before anything is appended to the new file
        return self._rows.pop((judge, pair_id))

    def close(self) -> None:
        """Let another process write the file."""
        os.close(self._lock)


def _lock(path: Path) -> int:
    """Lock a file beside ``path``, which is itself replaced now and then; the lock ends with the process."""
    lock = os.open(path.with_name(f".{path.name}.lock"), os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise ValueError(
            f"another `annotate` writes {path}: several people can use its page; else give another --out"
        ) from None
    return lock


def _read(path: Path) -> Iterator[Verdict]:
    if not path.exists():
        return
    for number, row in enumerate(read_jsonl(path), start=1):
        try:
            verdict = Verdict.from_dict(row)
            sound = verdict.judge.startswith(KIND) and verdict.order in ("ab", "ba")
        except ValueError:
            sound = False
        if not sound:
            raise ValueError(
                f"{path} holds something else than verdicts of people (row {number}): give another --out"
            )
        yield verdict


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
