"""Whose turn it is: which pair each annotator sees next, which answer stands left, and what becomes of a verdict."""

import time
from typing import Any

from lightning_marlhf.annotation.people import Annotator, clean_name
from lightning_marlhf.annotation.selection import Selection
from lightning_marlhf.annotation.store import KIND, VerdictFile
from lightning_marlhf.evaluation.pairs import Pair, digest
from lightning_marlhf.records import Verdict

SIDES = ("left", "right", "tie")
_LONGEST_NOTE = 10_000


class OutdatedError(ValueError):
    """The page shows a pair that has been judged meanwhile: it has to ask anew."""


class Session:
    """Hands out pairs and takes verdicts.

    Everybody gets the shared pairs, first; of the others each goes to whoever comes next. Nobody waits for anybody:
    when nothing else is left, a pair that another annotator still has on the page is given out, too.

    Args:
        selection: the pairs, in their order.
        verdicts: where verdicts are and go.
        prompt_version: names the criteria that people see.
    """

    def __init__(self, selection: Selection, verdicts: VerdictFile, *, prompt_version: str) -> None:
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
        """Those who have come so far."""
        return [each.name for each in self._annotators.values()]

    def annotator(self, name: str) -> Annotator:
        """Find a person, or welcome a new one; upper and lower case are the same person.

        Raises:
            ValueError: this is no name.
        """
        name = clean_name(name)
        key = name.casefold()
        if key not in self._annotators:
            self._annotators[key] = self._return(Annotator(name))
        return self._annotators[key]

    def view(self, person: Annotator) -> dict[str, Any]:
        """Say what the page shows, blinded."""
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

    def answer(self, person: Annotator, pair_id: str, *, winner: str, note: str = "") -> None:
        """Keep a verdict.

        Args:
            person: who judged.
            pair_id: of the pair on the page.
            winner: one of `SIDES`, as the page showed them.
            note: a remark.

        Raises:
            OutdatedError: the person has judged this pair before.
            ValueError: no such pair or winner, or the note is too long.
            OSError: the disk refuses the verdict.
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
        self._turn(person, pair_id)

    def skip(self, person: Annotator, pair_id: str) -> None:
        """Put a pair off until the end; others may get it meanwhile.

        Raises:
            OutdatedError: the person has judged this pair before.
            ValueError: no such pair.
        """
        self._find(person, pair_id)
        person.forget_skip(pair_id)
        person.skipped.append(pair_id)
        self._turn(person, pair_id)

    def undo(self, person: Annotator) -> None:
        """Go one step back: withdraw the last verdict, or bring back what was skipped last.

        Raises:
            ValueError: nothing is left to undo.
            OSError: the disk refuses the change.
        """
        if not person.can_undo:
            raise ValueError("nothing to undo")
        while person.history[-1] == person.shown:
            person.history.pop()  # skipped, and come back already
        pair_id = person.history[-1]
        person.note = ""
        if self.verdicts.find(person.judge, pair_id):
            person.note = self.verdicts.withdraw(person.judge, pair_id).raw
        person.history.pop()
        person.forget_skip(pair_id)
        self._show(person, pair_id)

    def _return(self, person: Annotator) -> Annotator:
        """Let a person go on: what lies before the last pair judged was skipped."""
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
            coming.sort(key=elsewhere.__contains__)  # stable: those on another's page go last
            self._show(person, next(iter(coming + skipped), None))
        return self._pairs[person.shown] if person.shown is not None else None

    def _left(self, person: Annotator) -> list[str]:
        """List what a person can still judge: shared pairs, and those that nobody has judged."""
        taken = {row.pair_id for row in self.verdicts} - self._shared
        return [
            pair_id
            for pair_id in self._pairs
            if pair_id not in taken and self.verdicts.find(person.judge, pair_id) is None
        ]

    def _order(self, person: Annotator, pair: Pair) -> str:
        """Draw which answer stands left."""
        drawn = digest(str(self.selection.seed), person.judge, pair.pair_id)
        return ("ab", "ba")[int(drawn, 16) % 2]

    def _blind(self, person: Annotator, pair: Pair) -> dict[str, str]:
        left, right = (getattr(pair, which) for which in self._order(person, pair))
        return {"id": pair.pair_id, "prompt": pair.asked, "left": left, "right": right}

    def _find(self, person: Annotator, pair_id: str) -> Pair:
        if pair_id not in self._pairs:
            raise ValueError(f"no pair {pair_id!r}")
        if self.verdicts.find(person.judge, pair_id):
            raise OutdatedError("you have judged this pair already: here is the next one")
        return self._pairs[pair_id]

    def _show(self, person: Annotator, pair_id: str | None) -> None:
        person.shown, person.since = pair_id, time.monotonic()

    def _seconds(self, person: Annotator, pair_id: str) -> float | None:
        """Return how long the pair was on the page; None where a restart lies between."""
        return round(time.monotonic() - person.since, 1) if person.shown == pair_id else None

    def _turn(self, person: Annotator, pair_id: str) -> None:
        person.history.append(pair_id)
        person.shown, person.note = None, ""
