"""One row of a data set: as text, before any tokenizer sees it, and as tokens."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lightning_marlhf.types import Messages

UNKNOWN_AGREEMENT = float("nan")


@dataclass(frozen=True)
class Demonstration:
    """For SFT: a response to imitate."""

    sample_id: str
    prompt: str
    response: str


@dataclass(frozen=True)
class Preference:
    """For reward models: two responses to one prompt, of which a person preferred the first."""

    sample_id: str
    prompt: str
    chosen: str
    rejected: str
    agreement: float = UNKNOWN_AGREEMENT  # how often people agree with this label at best


@dataclass(frozen=True)
class PromptExample:
    """For PPO and evaluation: a prompt, and the reference of its gold score or tests."""

    sample_id: str
    prompt: str
    reference: Any = None
    messages: Messages | None = None  # the prompt before the chat template


@dataclass(frozen=True)
class TokenizedDemonstration:
    """Prompt, response and EOS as token ids."""

    ids: Sequence[int]
    response_start: int  # where the response begins


@dataclass(frozen=True)
class TokenizedPreference:
    """Prompt, response and EOS as token ids, for both responses."""

    chosen_ids: Sequence[int]
    rejected_ids: Sequence[int]
    agreement: float = UNKNOWN_AGREEMENT


@dataclass(frozen=True)
class TokenizedPrompt:
    """A prompt with its token ids."""

    example: PromptExample
    prompt_ids: Sequence[int]


Example = Demonstration | Preference | PromptExample | TokenizedDemonstration | TokenizedPreference | TokenizedPrompt
