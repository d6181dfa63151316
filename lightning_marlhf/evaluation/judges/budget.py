"""What may still be asked: calls and money, checked before anything is sent."""

import math
import threading
from collections.abc import Mapping
from dataclasses import dataclass

from lightning_marlhf.evaluation.judges.base import JudgeError
from lightning_marlhf.ranges import NonNegative, NonNegativeInt, checked

_CHARACTERS_PER_TOKEN = 4  # of English, by the usual tokenizers
_PER_PRICE = 1_000_000  # tokens


class BudgetSpent(JudgeError):  # noqa: N818 - no fault: the user's own limit
    """Nothing more may be sent."""


@checked
@dataclass(frozen=True)
class Price:
    """US dollars for a million tokens."""

    prompt: NonNegative
    completion: NonNegative

    def of(self, usage: Mapping[str, int]) -> float:
        """Say what tokens cost."""
        prompt = self.prompt * usage.get("prompt_tokens", 0)
        return (prompt + self.completion * usage.get("completion_tokens", 0)) / _PER_PRICE


FREE = Price(0.0, 0.0)


@checked
class Budget:
    """Counts the calls of all judges of a run, and stops them before a limit is passed.

    Args:
        max_calls: requests that may be sent.
        max_usd: dollars that may be spent; before each request it is held to cost what it could at most.
        price: of tokens, which ``max_usd`` needs.

    Raises:
        ValueError: ``max_usd`` without a price.
    """

    def __init__(
        self,
        *,
        max_calls: NonNegativeInt | None = None,
        max_usd: NonNegative | None = None,
        price: Price = FREE,
    ) -> None:
        if max_usd is not None and price == FREE:
            raise ValueError("--max-usd needs --price IN OUT, dollars per million tokens")
        self.max_calls = max_calls
        self.max_usd = max_usd
        self.price = price
        self.calls = 0
        self.tokens = {"prompt_tokens": 0, "completion_tokens": 0}
        self._in_flight = 0.0  # dollars that requests without an answer could cost
        self._lock = threading.Lock()

    @property
    def usd(self) -> float:
        """What was spent."""
        return self.price.of(self.tokens)

    def reserve(self, most: Mapping[str, int]) -> None:
        """Ask for one request that takes ``most`` tokens.

        Raises:
            BudgetSpent: it might pass a limit.
        """
        cost = self.price.of(most)
        with self._lock:
            if self.max_calls is not None and self.calls >= self.max_calls:
                raise BudgetSpent(f"stopped by --max-calls {self.max_calls}")
            if self.max_usd is not None and self.usd + self._in_flight + cost > self.max_usd:
                raise BudgetSpent(
                    f"stopped by --max-usd {self.max_usd:g}: {self.usd:.4f} dollars are spent, and the next call could "
                    f"cost {cost:.4f}"
                )
            self.calls += 1
            self._in_flight += cost

    def settle(self, most: Mapping[str, int], usage: Mapping[str, int]) -> None:
        """Replace what a request could take by what it took."""
        with self._lock:
            self._in_flight = max(0.0, self._in_flight - self.price.of(most))
            for name in self.tokens:
                self.tokens[name] += usage.get(name, 0)


def estimate_tokens(text: str) -> int:
    """Guess how many tokens a text has, from its length.

    >>> estimate_tokens("What is it?")
    3
    """
    return math.ceil(len(text.encode("utf-8", "replace")) / _CHARACTERS_PER_TOKEN)
