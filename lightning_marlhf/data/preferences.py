"""Any other data set of prompts, demonstrations or preferences, by the names of its columns."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from lightning_marlhf.data.base import Stage
from lightning_marlhf.data.reading import PreferenceReader, Reader
from lightning_marlhf.data.source import HubData
from lightning_marlhf.data.text import TextData
from lightning_marlhf.hub import chat
from lightning_marlhf.tasks.rows import (
    MalformedRow,
    PreferenceText,
    Row,
    fingerprint,
    require_prompt,
    text,
    value,
    wrong,
)

Messages = Sequence[Mapping[str, str]]


@dataclass(frozen=True)
class Columns:
    """Reads the texts of a row by the names of their columns; a dot goes into a struct.

    Attributes:
        prompt: column of the prompt.
        answers: columns of the chosen and the rejected answer, as far as the stage reads them.
    """

    prompt: str
    answers: Sequence[str]

    def __call__(self, row: Row) -> PreferenceText:
        """Read one row."""
        prompt = text(row, self.prompt)
        require_prompt(prompt)
        chosen, rejected = _two([text(row, column) for column in self.answers])
        return PreferenceText(prompt, chosen, rejected, post=fingerprint(prompt))


@dataclass(frozen=True)
class Conversations:
    """Reads chat messages, and writes them as text by a chat template.

    A prompt is a list of messages or a text, which then is one message of the user; an answer is a text or messages, of
    which the last is the answer (some data sets repeat the prompt in each answer).

    Attributes:
        columns: as for texts.
        tokenizer: has the chat template.
    """

    columns: Columns
    tokenizer: PreTrainedTokenizerBase

    def __call__(self, row: Row) -> PreferenceText:
        """Read one row."""
        prompt = self._messages(row)
        rendered = chat.render(self.tokenizer, prompt, answer_follows=True)
        answers = [
            self._answer(prompt, rendered, _last(row, column)) for column in self.columns.answers
        ]
        chosen, rejected = _two(answers)
        return PreferenceText(rendered, chosen, rejected, post=fingerprint(rendered))

    def _messages(self, row: Row) -> Messages:
        messages = value(row, self.columns.prompt)
        if isinstance(messages, str):
            require_prompt(messages)
            return [{"role": "user", "content": messages}]
        if not messages or not all(isinstance(each, Mapping) for each in messages):
            raise wrong(self.columns.prompt, "a text or a list of messages", messages)
        return messages  # type: ignore[no-any-return]

    def _answer(self, prompt: Messages, rendered: str, answer: str) -> str:
        """Give what the template writes after the prompt, without an EOS, which is added later."""
        whole = chat.render(self.tokenizer, [*prompt, {"role": "assistant", "content": answer}])
        if not whole.startswith(rendered):
            raise MalformedRow("the chat template writes another prompt when an answer follows")
        end = whole.removeprefix(rendered).rstrip()
        return end.removesuffix(str(self.tokenizer.eos_token)) if answer.strip() else ""


class Preferences(TextData):
    """Prompts with answers in columns of any name; for PPO the prompts are enough.

    Args:
        source: a Hub id, or a folder or file.
        prompt_column: of the prompt; ``info.post`` looks into a struct.
        chosen_column: of the answer to imitate or that people preferred.
        rejected_column: of the other answer (reward_model).
        chat_template: columns hold messages (or the texts of single messages), which the tokenizer's template writes.
        phases: shares of SFT, reward model and PPO; null gives every stage all rows.
        **settings: of `TextData`.
    """

    hub = HubData("", {})

    def __init__(
        self,
        *,
        source: str,
        prompt_column: str = "prompt",
        chosen_column: str = "chosen",
        rejected_column: str = "rejected",
        chat_template: bool = False,
        phases: str | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(source=source, phases=phases, **settings)
        self.name = Path(source).name
        self.columns = Columns(prompt_column, _read_by(self.stage, chosen_column, rejected_column))
        self.chat_template = chat_template
        self.encoding = replace(self.encoding, special_tokens=not chat_template)

    def reader(self) -> Reader:
        """Read rows by their columns.

        Raises:
            SourceError: the tokenizer has no chat template.
        """
        if not self.chat_template:
            return PreferenceReader(self.columns, self.stage)
        chat.require_template(self.tokenizer)
        return PreferenceReader(Conversations(self.columns, self.tokenizer), self.stage)


def _read_by(stage: Stage, chosen: str, rejected: str) -> tuple[str, ...]:
    return {"sft": (chosen,), "reward_model": (chosen, rejected)}.get(stage, ())


def _two(answers: Sequence[str]) -> tuple[str, str]:
    chosen, rejected, *_ = *answers, "", ""
    return chosen, rejected


def _last(row: Row, column: str) -> str:
    """Take an answer: a text, or the content of the last message."""
    answer = value(row, column)
    if isinstance(answer, Sequence) and not isinstance(answer, str) and answer:
        return text(answer[-1], "content")
    return text(row, column)
