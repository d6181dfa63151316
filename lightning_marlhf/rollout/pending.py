"""Results that may still be on their way, so that slow judges and parsers work while the models run their passes."""

from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

Result = TypeVar("Result")
Result_co = TypeVar("Result_co", covariant=True)


class Pending(Protocol[Result_co]):
    """What was asked for; the futures of ``concurrent.futures`` are pending results, too."""

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
