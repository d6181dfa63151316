"""Pairwise judges: their interface; a language model, a reward model, a gold score, annotators."""

from collections.abc import Iterator, Sequence
from typing import Protocol

from lightning_marlhf.evaluation.pairs import Pair
from lightning_marlhf.records import Verdict

WINNERS = ("a", "b", "tie", "invalid")
BOTH_ORDERS = ("ab", "ba")


class Judge(Protocol):
    """Compares two responses.

    Attributes:
        name: Kind and name, as in the records: "openai:gpt-4o", "rm:...", "gold", "human:ada".
        prompt_version: Version of its instructions, as in the records; "": none.
    """

    name: str
    prompt_version: str

    def orders(self, pair: Pair) -> tuple[str, ...]:
        """Return the orders in which ``pair`` is shown: "ab", "ba" or both; or "" for a judge that sees no order."""
        ...

    def judge(self, pairs: Sequence[Pair]) -> Iterator[Verdict]:
        """Yield the verdicts on all ``pairs`` in any order, one per pair and order in which it is shown.

        A reply that cannot be read is a verdict "invalid", never a guess.

        Raises:
            JudgeError: The judge cannot work at all (no key, no model).
        """
        ...


class JudgeError(ValueError):
    """A judge cannot work; its text is one line for the user."""
