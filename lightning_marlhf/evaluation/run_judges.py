"""Runs judges on pairs, resumably: verdicts are logged to disk and reused."""

import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from lightning_marlhf.display.counter import Counter
from lightning_marlhf.evaluation.judges import Judge, JudgeError
from lightning_marlhf.evaluation.judges.budget import BudgetSpent
from lightning_marlhf.evaluation.judges.human import HumanJudge
from lightning_marlhf.evaluation.outcomes import INVALID, latest
from lightning_marlhf.evaluation.pairs import Pair
from lightning_marlhf.files import truncate_partial_line
from lightning_marlhf.records import Verdict, append_jsonl, read_verdicts

_WRITE_EVERY_S = 0.5  # a judge that only computes gives thousands a second; each write waits for the disk
_Key = tuple[str, str, str]


@dataclass(frozen=True)
class Judged:
    """The verdicts of one judge."""

    judge: str  # its name
    prompt_version: str
    verdicts: tuple[Verdict, ...]  # verdicts on the pairs that it judged in every order, in the order of the pairs
    num_pairs: int  # to judge
    stopped: str = ""  # why it stopped early; "": it did not


def judge_pairs(judge: Judge, pairs: Sequence[Pair], log: "VerdictLog", *, ignore_log: bool = False) -> Judged:
    """Let a judge give the verdicts that a log lacks.

    Args:
        judge: The judge.
        pairs: Pairs to judge.
        log: Verdicts so far; new ones are added as they come.
        ignore_log: Ask the judge about all pairs, whatever the log has.

    Raises:
        JudgeError: There is no verdict on any pair.
    """
    found = [] if ignore_log else [each for pair in pairs for each in log.settled(judge, pair)]
    settled = {verdict.pair_id for verdict in found}
    missing = [pair for pair in pairs if pair.pair_id not in settled]
    total = sum(len(judge.orders(pair)) for pair in missing)
    stopped = ""
    try:
        with Counter(f"verdicts of {judge.name}", total) as counter:
            for verdict in log.add(judge.judge(missing) if missing else ()):
                found.append(verdict)
                counter.add(1)
    except BudgetSpent as limit:
        stopped = str(limit)
    if isinstance(judge, HumanJudge) and judge.left_out:
        why = "on other prompts, or on other responses"
        sys.stderr.write(f"{judge.name}: verdicts left out: {judge.left_out} ({why})\n")
    by_pair: dict[str, list[Verdict]] = {pair.pair_id: [] for pair in pairs}
    for verdict in latest(found):
        by_pair[verdict.pair_id].append(verdict)
    verdicts = [
        verdict
        for pair in pairs
        if len(by_pair[pair.pair_id]) >= len(judge.orders(pair))  # judged in every order
        for verdict in sorted(by_pair[pair.pair_id], key=lambda v: (v.judge, v.order))
    ]
    if not verdicts:
        raise JudgeError(stopped or f"{judge.name}: no verdict on any pair")
    return Judged(judge.name, judge.prompt_version, tuple(verdicts), len(pairs), stopped)


class VerdictLog:
    """A file to which verdicts are appended as they come, and in which earlier ones are found.

    Args:
        path: JSONL of `Verdict`; it may hold other pairs and other judges.

    Raises:
        ValueError: It holds something else.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._known: dict[_Key, Verdict] = {}
        self._unwritten: list[Verdict] = []
        self._last_write = time.monotonic()
        if path.exists():
            truncate_partial_line(path)
            try:
                self._known = {_key(verdict): verdict for verdict in latest(read_verdicts(path))}
            except ValueError as error:
                raise ValueError(f"{path} holds something else than verdicts: {error}") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._write()

    def settled(self, judge: Judge, pair: Pair) -> list[Verdict]:
        """Return a judge's verdicts on a pair if it need not see the pair again: valid ones, in every order."""
        keys = [(judge.name, pair.pair_id, order) for order in judge.orders(pair)]
        found = [self._known[key] for key in keys if key in self._known]
        fitting = [
            verdict
            for verdict in found
            if verdict.fingerprint == pair.fingerprint
            and verdict.prompt_version == judge.prompt_version
            and verdict.winner != INVALID
        ]
        return fitting if len(fitting) == len(keys) else []

    def add(self, verdicts: Iterable[Verdict]) -> Iterator[Verdict]:
        """Yield verdicts, and keep those that are new."""
        for verdict in verdicts:
            key = _key(verdict)
            if self._known.get(key) != verdict:
                self._known[key] = verdict
                self._unwritten.append(verdict)
            if time.monotonic() - self._last_write >= _WRITE_EVERY_S:
                self._write()
            yield verdict

    def _write(self) -> None:
        self._last_write = time.monotonic()
        if self._unwritten:
            append_jsonl(self.path, self._unwritten)
            self._unwritten.clear()


def _key(verdict: Verdict) -> _Key:
    return verdict.judge, verdict.pair_id, verdict.order
