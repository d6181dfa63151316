"""Options of the commands that load models, read prompts and sample responses. Imports no torch."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from lightning_marlhf.ranges import NonNegative, NonNegativeInt, PositiveInt, Range
from lightning_marlhf.tasks.prompts import READERS

if TYPE_CHECKING:
    from lightning_marlhf.rollout.generation import SamplingSettings

TEXT, CHAT = "text", "chat"
FORMATS = (TEXT, CHAT, *READERS)
Format = Literal[FORMATS]  # type: ignore[valid-type]
Dtype = Literal["auto", "float32", "bfloat16", "float16"]


@dataclass(frozen=True, kw_only=True)
class LoadOptions:
    """How a model is loaded.

    Args:
        dtype: Data type of the weights; auto: bfloat16 on a GPU, else float32.
    """

    dtype: Dtype = "auto"


@dataclass(frozen=True, kw_only=True)
class PromptOptions:
    """Where prompts come from.

    Args:
        prompts: File of prompts. A .jsonl: rows with `prompt`, or rows of the data set that --format names; any other
            file: one prompt per line.
        format: Prompt format. A data set's name: its prompt format, for texts that are not in it yet; chat: the model's
            chat template; text: as given.
    """

    prompts: Path | None = None
    format: Format = TEXT  # type: ignore[valid-type]


@dataclass(frozen=True, kw_only=True)
class SamplingLimits:
    """Sampling options other than the temperature.

    Args:
        max_new_tokens: Maximum new tokens per response, EOS included.
        top_k: Sample from the k most likely tokens; 0: from all.
        top_p: Sample from the most likely tokens that together reach this probability; 1: from all.
        stop: Text that ends a response and is its last part; repeatable.
        seed: Sampling seed. The same seed gives the same responses, whatever the batch size.
    """

    max_new_tokens: PositiveInt = 128
    top_k: NonNegativeInt = 0
    top_p: Annotated[float, Range(above=0, at_most=1)] = 1.0
    stop: tuple[str, ...] = ()
    seed: int = 1

    def at(self, temperature: float) -> "SamplingSettings":
        """Return the sampler's settings at a temperature."""
        from lightning_marlhf.rollout.generation import SamplingSettings

        return SamplingSettings(
            max_new_tokens=self.max_new_tokens,
            temperature=temperature,
            top_k=self.top_k,
            top_p=self.top_p,
            stop=self.stop,
        )


@dataclass(frozen=True, kw_only=True)
class SamplingOptions(SamplingLimits):
    """How responses are sampled.

    Args:
        temperature: Sampling temperature; 0: greedy decoding.
    """

    temperature: NonNegative = 1.0

    @property
    def settings(self) -> "SamplingSettings":
        """The sampler's settings."""
        return self.at(self.temperature)


def device_and_dtype(dtype: str) -> tuple[str, str]:
    """Choose the device of a model, and what ``auto`` means on it."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    if dtype == "auto":
        dtype = "bfloat16" if device == "cuda" else "float32"
    return device, dtype
