"""How a reward model was shown its texts in training, as its config says to scorers."""

from dataclasses import dataclass
from typing import Self

from transformers import PretrainedConfig

_KEY = "reward_input"


@dataclass(frozen=True)
class RewardInput:
    """How prompts and responses became the tokens of a reward model.

    Attributes:
        joined: prompt and response were tokenised as one text, else apart.
        chat_template: prompts were messages, which the tokenizer's template wrote; None: unknown, as of models
            published by others.
    """

    joined: bool = False
    chat_template: bool | None = None

    @classmethod
    def of(cls, config: PretrainedConfig) -> Self:
        """Read what a model's config says."""
        said = getattr(config, _KEY, None)
        if not isinstance(said, dict):
            return cls()
        return cls(said.get("tokenize") == "joined", said.get("chat_template"))

    def write(self, config: PretrainedConfig) -> None:
        """Put it into a model's config, which every export keeps."""
        tokenize = "joined" if self.joined else "apart"
        setattr(config, _KEY, {"tokenize": tokenize, "chat_template": self.chat_template})
