"""The interface of all judges."""

from collections.abc import Iterator, Sequence
from typing import Protocol

from lightning_marlhf.evaluation.pairs import Pair
from lightning_marlhf.records import Verdict

WINNERS = ("a", "b", "tie", "invalid")
BOTH_ORDERS = ("ab", "ba")


class Judge(Protocol):
    """Says which of two answers is better.

    Attributes:
        name: kind and name, as in the records: "openai:gpt-4o", "rm:...", "gold", "human:ada".
        prompt_version: of what it is asked, as in the records; "": nothing is asked.
    """

    name: str
    prompt_version: str

    def orders(self, pair: Pair) -> tuple[str, ...]:
        """Say in which orders ``pair`` is shown: "ab", "ba" or both; or "" to a judge to whom order is nothing."""
        ...

    def judge(self, pairs: Sequence[Pair]) -> Iterator[Verdict]:
        """Yield the verdicts of all ``pairs`` as they come, in any order.

        One per pair and order in which it is shown; a judge to whom order is nothing gives one, with order "".
        What cannot be read is a verdict "invalid", never a guess; a mistake of the user's (no key, no model) raises.

        Raises:
            JudgeError: no verdict can be had at all; one line that says why.
        """
        ...


class JudgeError(ValueError):
    """A judge cannot work; its text is one line for the user."""
