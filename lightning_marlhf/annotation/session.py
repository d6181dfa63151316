"""The annotation session: selection, order and blinding of pairs, and the verdicts on them."""

import math
import time
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from lightning_marlhf.annotation.store import KIND, AnnotationFile
from lightning_marlhf.evaluation.pairs import Pair, digest, draw, plain_prompt
from lightning_marlhf.records import Verdict

SIDES = ("left", "right", "tie")
_LONGEST_NOTE = 10_000
_LONGEST_NAME = 40


class OutdatedError(ValueError):
    """The page shows a pair that has been judged meanwhile; it must fetch the next one."""


@dataclass(frozen=True)
class Selection:
    """The pairs of a session."""

    pairs: tuple[Pair, ...]  # in the order shown, drawn by the seed
    num_shared: int  # number of pairs, from the first, that every annotator judges; each of the others is judged by one
    seed: int  # seed of the order of pairs and of the side of each response


def select(pairs: Sequence[Pair], *, num_prompts: int | None, overlap: float, seed: int) -> Selection:
    """Draw the pairs of some prompts, as `win-rate` does, and their order; a larger selection begins with the smaller.

    Args:
        pairs: Pairs to draw from.
        num_prompts: Number of prompts; None: all.
        overlap: Fraction of pairs that every annotator judges, rounded up.
        seed: Seed of the draw.
    """
    drawn = draw(pairs, num_prompts, seed=seed, by_subreddit=False)
    drawn.sort(key=lambda pair: (digest(str(seed), pair.prompt), pair.pair_id))
    shared = math.ceil(round(overlap * len(drawn), 6))  # 0.07 * 100 is a hair above 7
    return Selection(tuple(drawn), shared, seed)


@dataclass
class Annotator:
    """In-memory state of an annotator; lost on restart."""

    name: str
    shown: str | None = None  # the pair on the page
    since: float = 0.0  # when it was first shown
    skipped: list[str] = field(default_factory=list)  # pairs that come back at the end, in this order
    history: list[str] = field(default_factory=list)  # pairs judged or skipped, the latest last
    note: str = ""  # of the verdict that was withdrawn last

    @property
    def judge(self) -> str:
        """The name in the records."""
        return KIND + self.name

    @property
    def can_undo(self) -> bool:
        """Whether a step back leads to another pair than the one on the page."""
        return any(pair_id != self.shown for pair_id in self.history)

    def forget_skip(self, pair_id: str) -> None:
        """Remove a pair from the skipped ones, if it is one."""
        if pair_id in self.skipped:
            self.skipped.remove(pair_id)

    def show(self, pair_id: str | None) -> None:
        """Put a pair on the page."""
        self.shown, self.since = pair_id, time.monotonic()

    def turn_page(self, pair_id: str) -> None:
        """Take a pair that was judged or skipped off the page."""
        self.history.append(pair_id)
        self.shown, self.note = None, ""


class Session:
    """Assigns pairs to annotators and records their verdicts.

    Shared pairs come first; each other pair is assigned to the next annotator. No annotator waits for another: if no
    other pair is left, one that is still on another annotator's page is assigned, too.

    Args:
        selection: Pairs in their order.
        verdicts: File of verdicts.
        prompt_version: Version of the annotation question.
    """

    def __init__(self, selection: Selection, verdicts: AnnotationFile, *, prompt_version: str) -> None:
        self.selection = selection
        self.verdicts = verdicts
        self._prompt_version = prompt_version
        self._pairs = {pair.pair_id: pair for pair in selection.pairs}
        self._shared = {pair.pair_id for pair in selection.pairs[: selection.num_shared]}
        self._annotators: dict[str, Annotator] = {}
        for verdict in verdicts:
            self.annotator(verdict.judge.removeprefix(KIND))

    @property
    def names(self) -> list[str]:
        """Names of all annotators so far."""
        return [each.name for each in self._annotators.values()]

    def annotator(self, name: str) -> Annotator:
        """Return the annotator of a name, whatever its case; a new name is a new annotator.

        Raises:
            ValueError: This is no name.
        """
        name = _clean_name(name)
        key = name.casefold()
        if key not in self._annotators:
            self._annotators[key] = self._resume(Annotator(name))
        return self._annotators[key]

    def view(self, person: Annotator) -> dict[str, Any]:
        """Return the blinded state that the page shows."""
        pair, left = self._current(person), self._left(person)
        done = sum(self.verdicts.find(person.judge, pair_id) is not None for pair_id in self._pairs)
        return {
            "annotator": person.name,
            "pair": self._blind(person, pair) if pair else None,
            "done": done,
            "total": done + len(left),
            "skipped": sum(each in left and each != person.shown for each in person.skipped),
            "can_undo": person.can_undo,
            "note": person.note,
        }

    def submit_verdict(self, person: Annotator, pair_id: str, *, winner: str, note: str = "") -> None:
        """Record a verdict on the pair on the page; ``winner`` is one of `SIDES`, as shown.

        Raises:
            OutdatedError: The person has judged this pair before.
            ValueError: There is no such pair or winner, or the note is too long.
            OSError: The verdict cannot be written.
        """
        pair = self._find(person, pair_id)
        if winner not in SIDES:
            raise ValueError(f"expected one of {', '.join(SIDES)}, got {winner!r}")
        if len(note) > _LONGEST_NOTE:
            raise ValueError(f"the note is too long: expected at most {_LONGEST_NOTE:,} characters")
        order = self._order(person, pair)
        self.verdicts.add(
            Verdict(
                pair_id=pair_id,
                fingerprint=pair.fingerprint,
                order=order,
                winner="tie" if winner == "tie" else order[SIDES.index(winner)],
                judge=person.judge,
                prompt_version=self._prompt_version,
                raw=note.strip().encode("utf-8", "replace").decode(),  # no lone surrogates
                seconds=self._seconds(person, pair_id),
            )
        )
        person.forget_skip(pair_id)
        person.turn_page(pair_id)

    def skip(self, person: Annotator, pair_id: str) -> None:
        """Postpone a pair to the end; another annotator may get it meanwhile.

        Raises:
            OutdatedError: The person has judged this pair before.
            ValueError: There is no such pair.
        """
        self._find(person, pair_id)
        person.forget_skip(pair_id)
        person.skipped.append(pair_id)
        person.turn_page(pair_id)

    def undo(self, person: Annotator) -> None:
        """Go one step back: withdraw the last verdict, or bring back the pair that was skipped last.

        Raises:
            ValueError: There is nothing to undo.
            OSError: The file cannot be written.
        """
        if not person.can_undo:
            raise ValueError("nothing to undo")
        while person.history[-1] == person.shown:
            person.history.pop()  # skipped, and back on the page already
        pair_id = person.history[-1]
        person.note = ""
        if self.verdicts.find(person.judge, pair_id):
            person.note = self.verdicts.withdraw(person.judge, pair_id).raw
        person.history.pop()
        person.forget_skip(pair_id)
        person.show(pair_id)

    def _resume(self, person: Annotator) -> Annotator:
        """Resume a person's work: unjudged pairs before the last judged one were skipped."""
        judged = [row.pair_id for row in self.verdicts if row.judge == person.judge]
        person.history = [pair_id for pair_id in judged if pair_id in self._pairs]
        order = list(self._pairs)
        last = max(map(order.index, person.history), default=0)
        left = self._left(person)
        person.skipped = [pair_id for pair_id in order[:last] if pair_id in left]
        return person

    def _current(self, person: Annotator) -> Pair | None:
        left = self._left(person)
        if person.shown not in left:
            coming = [pair_id for pair_id in left if pair_id not in person.skipped]
            skipped = [pair_id for pair_id in person.skipped if pair_id in left]
            elsewhere = {each.shown for each in self._annotators.values()} - self._shared
            coming.sort(key=elsewhere.__contains__)  # stable: pairs on another's page come last
            person.show(next(iter(coming + skipped), None))
        return self._pairs[person.shown] if person.shown is not None else None

    def _left(self, person: Annotator) -> list[str]:
        """List the pairs that a person can still judge: shared ones, and those without a verdict."""
        taken = {row.pair_id for row in self.verdicts} - self._shared
        return [
            pair_id
            for pair_id in self._pairs
            if pair_id not in taken and self.verdicts.find(person.judge, pair_id) is None
        ]

    def _order(self, person: Annotator, pair: Pair) -> str:
        """Draw the order of the responses, the left one first."""
        drawn = digest(str(self.selection.seed), person.judge, pair.pair_id)
        return ("ab", "ba")[int(drawn, 16) % 2]

    def _blind(self, person: Annotator, pair: Pair) -> dict[str, str]:
        left, right = (getattr(pair, which) for which in self._order(person, pair))
        return {"id": pair.pair_id, "prompt": plain_prompt(pair), "left": left, "right": right}

    def _find(self, person: Annotator, pair_id: str) -> Pair:
        if pair_id not in self._pairs:
            raise ValueError(f"no pair {pair_id!r}")
        if self.verdicts.find(person.judge, pair_id):
            raise OutdatedError("you have judged this pair already: here is the next one")
        return self._pairs[pair_id]

    def _seconds(self, person: Annotator, pair_id: str) -> float | None:
        """Return how long the pair was on the page; None if the server was restarted meanwhile."""
        return round(time.monotonic() - person.since, 1) if person.shown == pair_id else None


def _clean_name(name: str) -> str:
    """Return a name with single spaces and composed letters; raise ValueError if it is not a name."""
    name = " ".join(unicodedata.normalize("NFC", name).split())
    if not 0 < len(name) <= _LONGEST_NAME or not name.isprintable():
        raise ValueError(f"expected a name of 1 to {_LONGEST_NAME} visible characters")
    return name
