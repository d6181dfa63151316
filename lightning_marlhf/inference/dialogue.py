"""A dialogue with a model that remembers its turns, and text that appears while it is made."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace

import torch
from transformers import PreTrainedTokenizerBase
from transformers.generation.streamers import BaseStreamer

from lightning_marlhf.data.examples import Question, TokenizedQuestion
from lightning_marlhf.hub.tokenizer import decode_responses, end_tokens
from lightning_marlhf.inference.answering import Answerer
from lightning_marlhf.rollout.generation import SamplingSettings, row_seeds
from lightning_marlhf.tasks import dialogue
from lightning_marlhf.tasks.dialogue import Turn

Write = Callable[[str], object]


class Conversation:
    """Keeps the turns of a dialogue, in the model's chat template or, where that is not wanted, in HH-RLHF's format.

    Args:
        answerer: the model.
        settings: how its answers are sampled.
        system: what the dialogue begins with; "" for nothing.
        seed: the same questions get the same answers.

    Raises:
        SourceError: the chat template knows no system turn, and one is wanted.
    """

    def __init__(
        self, answerer: Answerer, settings: SamplingSettings, *, system: str, seed: int
    ) -> None:
        self.answerer = answerer
        self.settings = settings
        self.seed = seed
        self.asked = 0
        self._start: list[Turn] = [{"role": "system", "content": system}] if system else []
        self.turns = list(self._start)
        self._tokenize([*self._start, {"role": "user", "content": "?"}])

    def reset(self) -> None:
        """Forget everything but the system's turn."""
        self.turns = list(self._start)

    def undo(self) -> None:
        """Forget the last question and its answer."""
        if len(self.turns) > len(self._start):
            self.turns = self.turns[:-2]

    def ask(self, text: str, write: Write) -> None:
        """Answer ``text``, piece by piece; Ctrl-C ends the answer, which then counts as it is.

        Raises:
            ValueError: the dialogue has become longer than the model can read.
        """
        turns: list[Turn] = [*self.turns, {"role": "user", "content": text}]
        self.asked += 1
        name = f"question {self.asked}"
        stop = () if self.answerer.chat_template else (dialogue.HUMAN,)
        settings = replace(self.settings, stop=(*self.settings.stop, *stop))
        stream = TextStream(self.answerer.tokenizer, write, stop=settings.stop)
        with suppress(KeyboardInterrupt):
            self.answerer.answer(
                [TokenizedQuestion(Question(name, text), self._tokenize(turns))],
                settings=settings,
                seeds=row_seeds(self.seed, [name], 0),
                streamer=stream,
            )
        self.turns = [*turns, {"role": "assistant", "content": stream.text.strip()}]

    def _tokenize(self, turns: Sequence[Turn]) -> list[int]:
        if self.answerer.chat_template:
            return self.answerer.tokenize_turns(turns)
        return self.answerer.tokenize(dialogue.to_text(turns))


class TextStream(BaseStreamer):  # type: ignore[misc]
    """Writes an answer while it is made, without special tokens and leading spaces.

    Args:
        tokenizer: the model's.
        write: is handed each new piece.
        stop: texts at which the answer ends; they are not written.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, write: Write, *, stop: Sequence[str] | None
    ) -> None:
        self.tokenizer = tokenizer
        self.write = write
        self.stop = stop or ()
        self.text = ""  # what was written
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
        self._show(text[: len(text) - self._unsure(text)])

    def end(self) -> None:
        """Write what was held back."""
        self._show(self._decode())

    def _decode(self) -> str:
        spoken = [token for token in self._ids if token not in self._ends]
        (text,) = decode_responses(self.tokenizer, [self._prompt or []], [spoken])
        for stop in self.stop:
            text = text.partition(stop)[0]
        return text.lstrip()

    def _unsure(self, text: str) -> int:
        """Count the last characters that the next token may change: parts of a character or of a stop."""
        begun = (n for stop in self.stop for n in range(1, len(stop)) if text.endswith(stop[:n]))
        broken = len(text) - len(text.rstrip("\N{REPLACEMENT CHARACTER}"))
        return max(broken, *begun, 0)

    def _show(self, text: str) -> None:
        new = text[len(self.text) :]
        self.text += new
        self.write(new)
