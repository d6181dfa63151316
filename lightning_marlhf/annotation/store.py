"""The file of human verdicts. It is always complete; `win-rate` reads it directly.

A verdict is appended, and on disk, before the next pair is shown. A withdrawn one is removed by an atomic replacement
of the file. So there is no journal, and nothing to export.
"""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from itertools import combinations
from pathlib import Path

from lightning_marlhf.evaluation.pairs import Pair
from lightning_marlhf.files import read_jsonl, truncate_partial_line
from lightning_marlhf.records import Verdict, append_jsonl, write_jsonl
from lightning_marlhf.run_lock import InUseError, alone_in

KIND = "human:"  # prefix of annotators' names in the records


class AnnotationFile:
    """At most one verdict of each person on each pair, in the order given.

    Args:
        path: File of verdicts (JSONL), which is resumed if it exists.

    Raises:
        ValueError: Another process writes the file, or it holds something else.
    """

    def __init__(self, path: Path) -> None:
        if path.exists() and not path.is_file():
            raise ValueError(f"--out {path}: expected a file")
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path.resolve()  # a link stays one when its file is replaced
        self._lock = ExitStack()
        try:  # a separate lock file, because the verdict file gets replaced
            self._lock.enter_context(alone_in(self.path.parent, name=f".{self.path.name}.lock"))
        except InUseError:
            raise ValueError(
                f"another `annotate` writes {self.path}: several people can use its page; else give another --out"
            ) from None
        if path.exists():
            truncate_partial_line(path)
        self._rows = {(row.judge, row.pair_id): row for row in _read(path)}

    def __iter__(self) -> Iterator[Verdict]:
        return iter(self._rows.values())

    def find(self, judge: str, pair_id: str) -> Verdict | None:
        """Return a person's verdict on a pair, if there is one."""
        return self._rows.get((judge, pair_id))

    def check(self, pairs: Iterable[Pair]) -> None:
        """Refuse a file of verdicts on anything but ``pairs``.

        Raises:
            ValueError: A verdict is on another pair, or on other texts.
        """
        fingerprints = {pair.pair_id: pair.fingerprint for pair in pairs}
        for number, row in enumerate(self._rows.values(), start=1):
            if fingerprints.get(row.pair_id) != row.fingerprint:
                raise ValueError(f"{self.path} holds verdicts on other responses (row {number}): give another --out")

    def add(self, verdict: Verdict) -> None:
        """Add a verdict, which is on disk when this returns.

        Raises:
            OSError: It cannot be written; the file is as before.
        """
        try:
            append_jsonl(self.path, [verdict])
        except OSError:
            if self.path.exists():
                truncate_partial_line(self.path)
            raise
        self._rows[verdict.judge, verdict.pair_id] = verdict

    def withdraw(self, judge: str, pair_id: str) -> Verdict:
        """Remove a verdict from the file, and return it."""
        verdict = self._rows[judge, pair_id]
        write_jsonl(self.path, (row for row in self._rows.values() if row is not verdict))
        _sync_folder(self.path.parent)  # before anything is appended to the new file
        return self._rows.pop((judge, pair_id))

    def close(self) -> None:
        """Let another process write the file."""
        self._lock.close()


def _read(path: Path) -> Iterator[Verdict]:
    if not path.exists():
        return
    for number, row in enumerate(read_jsonl(path), start=1):
        try:
            verdict = Verdict.from_dict(row)
            is_valid = verdict.judge.startswith(KIND) and verdict.order in ("ab", "ba")
        except ValueError:
            is_valid = False
        if not is_valid:
            raise ValueError(
                f"{path} holds something else than verdicts of annotators (row {number}): give another --out"
            )
        yield verdict


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def summarize(pairs: Sequence[Pair], verdicts: AnnotationFile) -> Iterator[str]:
    """Yield lines: verdicts of each annotator, raw agreement of every two of them, pairs without a verdict."""
    rows = list(verdicts)
    yield f"{verdicts.path}: {_count(len(rows), 'verdict')}"
    for judge, count in Counter(row.judge for row in rows).items():
        yield f"  {judge.removeprefix(KIND)}: {count}"
    yield from _agreement(verdicts)
    judged = {row.pair_id for row in rows}
    left = sum(pair.pair_id not in judged for pair in pairs)
    yield f"left: {left} of {_count(len(pairs), 'pair')} without a verdict"


def _agreement(verdicts: AnnotationFile) -> Iterator[str]:
    """Compare every two annotators on the pairs that both have judged; `win-rate` corrects for chance."""
    winners: dict[str, dict[str, str]] = {}
    for row in verdicts:
        winners.setdefault(row.judge, {})[row.pair_id] = row.winner
    for one, other in combinations(winners, 2):
        both = winners[one].keys() & winners[other].keys()
        if both:
            same = sum(winners[one][pair_id] == winners[other][pair_id] for pair_id in both)
            names = " and ".join(judge.removeprefix(KIND) for judge in (one, other))
            yield f"  {names} agree on {same} of {_count(len(both), 'pair')} ({same / len(both):.0%})"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
