"""The verdicts of a comparison on disk: what is there is not asked for again."""

import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from lightning_marlhf.evaluation.judges.base import Judge
from lightning_marlhf.evaluation.outcomes import INVALID, latest
from lightning_marlhf.evaluation.pairs import Pair
from lightning_marlhf.files import cut_unfinished_line
from lightning_marlhf.records import Verdict, append_jsonl, read_verdicts

_WRITE_EVERY_S = (
    0.5  # a judge that only computes gives thousands a second; each write waits for the disk
)


class VerdictFile:
    """Adds verdicts to a file as they come, and finds those that are there.

    Args:
        path: JSONL of `Verdict`; it may hold other pairs and other judges.

    Raises:
        ValueError: it holds something else.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._there: dict[tuple[str, str, str], Verdict] = {}
        self._unwritten: list[Verdict] = []
        self._written = time.monotonic()
        if path.exists():
            self._read()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._write()

    def settled(self, judge: Judge, pairs: Sequence[Pair]) -> list[Verdict]:
        """Find the verdicts of a judge on those of ``pairs`` that it need not see again: valid in every order."""
        return [verdict for pair in pairs for verdict in self._settled(judge, pair)]

    def add(self, verdicts: Iterable[Verdict]) -> Iterator[Verdict]:
        """Pass verdicts on, and keep those that are news."""
        for verdict in verdicts:
            key = _key(verdict)
            if self._there.get(key) != verdict:
                self._there[key] = verdict
                self._unwritten.append(verdict)
            if time.monotonic() - self._written >= _WRITE_EVERY_S:
                self._write()
            yield verdict

    def _settled(self, judge: Judge, pair: Pair) -> list[Verdict]:
        keys = [(judge.name, pair.pair_id, order) for order in judge.orders(pair)]
        found = [self._there[key] for key in keys if key in self._there]
        fitting = [
            verdict
            for verdict in found
            if verdict.fingerprint == pair.fingerprint
            and verdict.prompt_version == judge.prompt_version
            and verdict.winner != INVALID
        ]
        return fitting if len(fitting) == len(keys) else []

    def _read(self) -> None:
        cut_unfinished_line(self.path)
        try:
            self._there = {_key(verdict): verdict for verdict in latest(read_verdicts(self.path))}
        except ValueError as error:
            raise ValueError(f"{self.path} holds something else than verdicts: {error}") from None

    def _write(self) -> None:
        self._written = time.monotonic()
        if self._unwritten:
            append_jsonl(self.path, self._unwritten)
            self._unwritten.clear()


def complete(judge: Judge, pairs: Sequence[Pair], verdicts: Iterable[Verdict]) -> list[Verdict]:
    """Keep the verdicts on pairs that were judged in every order, in the order of the pairs."""
    by_pair: dict[str, list[Verdict]] = {pair.pair_id: [] for pair in pairs}
    for verdict in latest(verdicts):
        by_pair[verdict.pair_id].append(verdict)
    return [
        verdict
        for pair in pairs
        if len(by_pair[pair.pair_id]) >= len(judge.orders(pair))
        for verdict in sorted(by_pair[pair.pair_id], key=lambda v: (v.judge, v.order))
    ]


def _key(verdict: Verdict) -> tuple[str, str, str]:
    return verdict.judge, verdict.pair_id, verdict.order
