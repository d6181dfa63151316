"""One row of a data set as text, before any tokeniser sees it: a demonstration, a preference or a question."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Demonstration:
    """For SFT: an answer to imitate."""

    sample_id: str
    prompt: str
    response: str


@dataclass(frozen=True)
class Preference:
    """For reward models: two answers to one prompt, of which a person preferred the first."""

    sample_id: str
    prompt: str
    chosen: str
    rejected: str
    agreement: float = float(
        "nan"
    )  # how often people agree with this label at best; NaN where nobody knows


@dataclass(frozen=True)
class Question:
    """For PPO and evaluation: a prompt, and what its gold score or tests need."""

    sample_id: str
    prompt: str
    reference: Any = None


Example = Demonstration | Preference | Question
