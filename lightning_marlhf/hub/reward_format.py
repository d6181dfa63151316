"""The input format that a reward model was trained with, stored in its config."""

from dataclasses import dataclass
from typing import Self

from transformers import PretrainedConfig

_KEY = "reward_input"


@dataclass(frozen=True)
class RewardInput:
    """Tokenisation of prompts and responses for a reward model.

    Attributes:
        joined: Prompt and response were tokenised as one text, else apart.
        chat_template: Prompts were messages, which the tokenizer's template wrote; None: unknown, as of models
            published by others.
    """

    joined: bool = False
    chat_template: bool | None = None

    @classmethod
    def of(cls, config: PretrainedConfig) -> Self:
        """Read the format from a model's config."""
        stored = getattr(config, _KEY, None)
        if not isinstance(stored, dict):
            return cls()
        return cls(stored.get("tokenize") == "joined", stored.get("chat_template"))

    def write(self, config: PretrainedConfig) -> None:
        """Put it into a model's config, which every export keeps."""
        tokenize = "joined" if self.joined else "apart"
        setattr(config, _KEY, {"tokenize": tokenize, "chat_template": self.chat_template})
