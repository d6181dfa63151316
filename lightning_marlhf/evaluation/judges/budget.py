"""Prices of tokens, and limits of calls and dollars that are checked before anything is sent."""

import math
import threading
from collections.abc import Mapping
from dataclasses import dataclass

from lightning_marlhf.evaluation.judges import JudgeError
from lightning_marlhf.ranges import NonNegative, NonNegativeInt, checked

_CHARACTERS_PER_TOKEN = 4  # of English, by the usual tokenizers
_PER_PRICE = 1_000_000  # tokens


class BudgetSpent(JudgeError):  # noqa: N818 - not a fault: the user's own limit
    """A limit of calls or dollars is reached."""


@checked
@dataclass(frozen=True)
class Price:
    """Price in US dollars per million tokens."""

    prompt: NonNegative
    completion: NonNegative

    def of(self, usage: Mapping[str, int]) -> float:
        """Return the price of tokens in dollars."""
        prompt = self.prompt * usage.get("prompt_tokens", 0)
        return (prompt + self.completion * usage.get("completion_tokens", 0)) / _PER_PRICE


FREE = Price(0.0, 0.0)


@checked
class Budget:
    """Counts the calls of all judges of a run, and stops them before a limit is passed.

    Args:
        max_calls: Maximum number of requests; None: no limit.
        max_usd: Maximum dollars spent, assuming the maximum cost of each request; None: no limit.
        price: Price of tokens, which ``max_usd`` needs.

    Raises:
        ValueError: ``max_usd`` is given without a price.
    """

    def __init__(
        self, *, max_calls: NonNegativeInt | None = None, max_usd: NonNegative | None = None, price: Price = FREE
    ) -> None:
        if max_usd is not None and price == FREE:
            raise ValueError("max_usd: expected a price, too")
        self.max_calls = max_calls
        self.max_usd = max_usd
        self.price = price
        self.calls = 0
        self.tokens = {"prompt_tokens": 0, "completion_tokens": 0}
        self._in_flight = 0.0  # dollars that requests under way could cost
        self._lock = threading.Lock()

    @property
    def usd(self) -> float:
        """Dollars spent."""
        return self.price.of(self.tokens)

    def reserve(self, max_usage: Mapping[str, int]) -> None:
        """Reserve one request of at most ``max_usage`` tokens.

        Raises:
            BudgetSpent: It might pass a limit.
        """
        cost = self.price.of(max_usage)
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

    def settle(self, max_usage: Mapping[str, int], usage: Mapping[str, int]) -> None:
        """Replace the reserved tokens of a request by those used."""
        with self._lock:
            self._in_flight = max(0.0, self._in_flight - self.price.of(max_usage))
            for name in self.tokens:
                self.tokens[name] += usage.get(name, 0)


def estimate_tokens(text: str) -> int:
    """Estimate the number of tokens of a text from its length.

    >>> estimate_tokens("What is it?")
    3
    """
    return math.ceil(len(text.encode("utf-8", "replace")) / _CHARACTERS_PER_TOKEN)
