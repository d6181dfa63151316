"""A person who compares answers."""

import unicodedata
from dataclasses import dataclass, field

from lightning_marlhf.annotation.store import KIND

_LONGEST_NAME = 40


@dataclass
class Annotator:
    """What is known of a person besides the verdicts; a restart forgets it."""

    name: str
    shown: str | None = None  # the pair on the page
    since: float = 0.0  # when it was first shown
    skipped: list[str] = field(default_factory=list)  # come back at the end, in this order
    history: list[str] = field(default_factory=list)  # pairs judged or skipped, the latest last
    note: str = ""  # of the verdict that was withdrawn last

    @property
    def judge(self) -> str:
        """The name in the records."""
        return KIND + self.name

    @property
    def can_undo(self) -> bool:
        """Whether a step back leads anywhere but to the pair on the page."""
        return any(pair_id != self.shown for pair_id in self.history)

    def forget_skip(self, pair_id: str) -> None:
        """Take a pair from those that come back, where it is one."""
        if pair_id in self.skipped:
            self.skipped.remove(pair_id)


def clean_name(name: str) -> str:
    """Return a name with single spaces and composed letters.

    Raises:
        ValueError: this is no name.
    """
    name = " ".join(unicodedata.normalize("NFC", name).split())
    if not 0 < len(name) <= _LONGEST_NAME or not name.isprintable():
        raise ValueError(f"expected a name of 1 to {_LONGEST_NAME} visible characters")
    return name
