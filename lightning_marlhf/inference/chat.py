"""Multi-turn chat with a model, with streamed text."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace

import torch
from transformers import PreTrainedTokenizerBase
from transformers.generation.streamers import BaseStreamer

from lightning_marlhf.data.examples import PromptExample, TokenizedPrompt
from lightning_marlhf.hub.end_tokens import end_tokens
from lightning_marlhf.hub.tokenizer import decode_responses
from lightning_marlhf.inference.loading import LanguageModel
from lightning_marlhf.rollout.generation import SamplingSettings, row_seeds
from lightning_marlhf.tasks import dialogue
from lightning_marlhf.tasks.dialogue import Turn

Write = Callable[[str], object]


class Conversation:
    """Keeps the turns of a dialogue, in the model's chat template or in HH-RLHF's format.

    Args:
        model: The language model.
        settings: How responses are sampled.
        system: The system turn that the dialogue begins with; "": none.
        seed: The same messages get the same responses.
        chat_template: Whether the model's chat template is used; None: if it has one.

    Raises:
        SourceError: The model has no chat template, or one that refuses the system turn.
    """

    def __init__(
        self,
        model: LanguageModel,
        settings: SamplingSettings,
        *,
        system: str,
        seed: int,
        chat_template: bool | None = None,
    ) -> None:
        has_template = bool(model.tokenizer.chat_template)
        self.chat_template = has_template if chat_template is None else chat_template
        self.model = model
        stop = () if self.chat_template else (dialogue.HUMAN,)
        self.settings = replace(settings, stop=(*settings.stop, *stop))
        self.seed = seed
        self.num_messages = 0
        self._start: list[Turn] = [{"role": "system", "content": system}] if system else []
        self.turns = list(self._start)
        self._tokenize([*self._start, {"role": "user", "content": "?"}])

    def reset(self) -> None:
        """Forget everything but the system turn."""
        self.turns = list(self._start)

    def undo(self) -> None:
        """Forget the last message and its response."""
        if len(self.turns) > len(self._start):
            self.turns = self.turns[:-2]

    def respond(self, text: str, write: Write) -> None:
        """Respond to the user's ``text``, streamed; Ctrl-C ends the response, which is kept.

        Raises:
            ValueError: The dialogue has become longer than the model's context.
        """
        turns: list[Turn] = [*self.turns, {"role": "user", "content": text}]
        self.num_messages += 1
        name = f"question {self.num_messages}"  # seeds the sampling
        stream = TextStream(self.model.tokenizer, write, stop=self.settings.stop)
        with suppress(KeyboardInterrupt):
            self.model.generate(
                [TokenizedPrompt(PromptExample(name, text), self._tokenize(turns))],
                settings=self.settings,
                seeds=row_seeds(self.seed, [name], 0),
                streamer=stream,
            )
        self.turns = [*turns, {"role": "assistant", "content": stream.text.strip()}]

    def _tokenize(self, turns: Sequence[Turn]) -> list[int]:
        return self.model.tokenize(turns if self.chat_template else dialogue.to_text(turns))


class TextStream(BaseStreamer):  # type: ignore[misc]
    """Writes a response while it is generated, without special tokens and leading spaces.

    Args:
        tokenizer: The model's.
        write: Called with each new piece.
        stop: Texts at which the response ends; they are not written.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, write: Write, *, stop: Sequence[str] = ()) -> None:
        self.tokenizer = tokenizer
        self.write = write
        self.stop = stop
        self.text = ""  # written so far
        self._ends = end_tokens(tokenizer)
        self._prompt: list[int] | None = None
        self._ids: list[int] = []

    def put(self, value: torch.Tensor) -> None:
        """Take the prompt (the first time), then each token."""
        ids = torch.as_tensor(value).flatten().tolist()
        if self._prompt is None:
            self._prompt = ids
            return
        self._ids += ids
        text = self._decode()
        self._show(text[: len(text) - self._pending_length(text)])

    def end(self) -> None:
        """Write what was held back."""
        self._show(self._decode())

    def _decode(self) -> str:
        text_ids = [token for token in self._ids if token not in self._ends]
        (text,) = decode_responses(self.tokenizer, [self._prompt or []], [text_ids])
        for stop in self.stop:
            text = text.partition(stop)[0]
        return text.lstrip()

    def _pending_length(self, text: str) -> int:
        """Count the last characters that the next token may change: parts of a character or of a stop string."""
        begun = (n for stop in self.stop for n in range(1, len(stop)) if text.endswith(stop[:n]))
        broken = len(text) - len(text.rstrip("\N{REPLACEMENT CHARACTER}"))
        return max(broken, *begun, 0)

    def _show(self, text: str) -> None:
        new = text[len(self.text) :]
        self.text += new
        self.write(new)
