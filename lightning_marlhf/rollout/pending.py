"""Futures: slow scorers and parsers run while the models do their forward passes."""

from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

Result = TypeVar("Result")
Result_co = TypeVar("Result_co", covariant=True)


class Pending(Protocol[Result_co]):
    """A future; those of ``concurrent.futures`` satisfy this protocol, too."""

    def result(self) -> Result_co:
        """Wait for the result."""
        ...


@dataclass(frozen=True)
class Ready(Generic[Result]):
    """A result that is already there."""

    value: Result

    def result(self) -> Result:
        """Return it."""
        return self.value
