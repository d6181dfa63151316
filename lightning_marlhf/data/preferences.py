"""Any other data set of prompts, demonstrations or preferences, by the names of its columns."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from lightning_marlhf.data.reading import PreferenceReader, Reader
from lightning_marlhf.data.source import HubData
from lightning_marlhf.data.text_data import TextData
from lightning_marlhf.hub import chat_template
from lightning_marlhf.tasks import dialogue, hh_rlhf
from lightning_marlhf.tasks.messages import split_dialogue
from lightning_marlhf.tasks.rows import (
    MalformedRow,
    PreferenceText,
    Row,
    UnusableRow,
    fingerprint,
    has,
    refuse_leak,
    require_prompt,
    text,
    texts_in,
    value,
)


@dataclass(frozen=True)
class Columns:
    """Names of a row's columns; a dot goes into a struct.

    Attributes:
        prompt: Column of the prompt.
        chosen: Column of the preferred response.
        responses: Columns of the chosen and the rejected response, as far as the stage reads them.
    """

    prompt: str
    chosen: str
    responses: Sequence[str]


@dataclass(frozen=True)
class Texts:
    """Reads the texts of a row: prompt and responses, or full transcripts in HH-RLHF's form as responses.

    Attributes:
        columns: Names of the columns.
    """

    columns: Columns

    def __call__(self, row: Row) -> PreferenceText:
        """Read one row."""
        columns = self.columns
        if has(row, columns.prompt) or not has(row, columns.chosen):
            prompt = _text(row, columns.prompt)
            responses = [_text(row, column) for column in columns.responses]
            prompt = _without_reply(prompt, responses or texts_in(row, [columns.chosen]))
        else:
            wanted = columns.responses or [columns.chosen]
            parts = [_split_transcript(row, columns.prompt, each) for each in wanted]
            prompts, responses = zip(*parts, strict=True)
            if len(set(prompts)) > 1:
                raise UnusableRow("chosen and rejected have different prompts")
            prompt = prompts[0]
        require_prompt(prompt)
        chosen, rejected = _two(responses if columns.responses else [])
        return PreferenceText(prompt, chosen, rejected, group=fingerprint(prompt))


@dataclass(frozen=True)
class Conversations:
    """Reads chat messages, and writes them as text by a chat template.

    A prompt is a list of messages, or a text: one message of the user. A response is a text, or messages of which
    the last is the response (some data sets repeat the prompt in each response, or have it there alone).

    Attributes:
        columns: Names of the columns.
        tokenizer: A tokenizer with a chat template.
    """

    columns: Columns
    tokenizer: PreTrainedTokenizerBase

    def __call__(self, row: Row) -> PreferenceText:
        """Read one row.

        Raises:
            UnusableRow: it is no dialogue of texts, or the template refuses it; no row ends the data set.
        """
        columns = self.columns
        try:
            messages, contents = split_dialogue(
                row, prompt=columns.prompt, chosen=columns.chosen, responses=columns.responses
            )
            prompt = chat_template.render(self.tokenizer, messages, response_follows=True)
            chosen, rejected = _two(
                [chat_template.render_response(self.tokenizer, messages, content) for content in contents]
            )
        except (MalformedRow, chat_template.RefusedDialogueError) as problem:
            raise UnusableRow(str(problem)) from None
        return PreferenceText(prompt, chosen, rejected, group=fingerprint(prompt), messages=messages)


class Preferences(TextData):
    """Prompts with responses in columns of any name; for PPO the prompts are enough.

    Args:
        source: A Hub id, or a folder or file.
        prompt_column: Column of the prompt; ``info.post`` looks into a struct. Rows without it have the prompt in their
            responses, which then are full dialogues (transcripts in HH-RLHF's form, or messages).
        chosen_column: Column of the response to imitate, or of the preferred one.
        rejected_column: Column of the other response (reward_model).
        chat_template: Columns hold messages (or the texts of single messages), which the tokenizer's template writes;
            rows may also have ``messages`` (or ShareGPT's ``conversations``) alone, whose last is the response. Rows
            that are no dialogue of texts, or that the template refuses, are dropped and counted.
        phases: Fractions of the rows for SFT, reward model and PPO; null gives every stage all rows.
        **settings: Other settings of `TextData`.
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
        responses = {"sft": (chosen_column,), "reward_model": (chosen_column, rejected_column)}.get(self.stage, ())
        self.columns = Columns(prompt_column, chosen_column, responses)
        self.chat_template = chat_template
        self.encoding = replace(self.encoding, special_tokens=not chat_template)

    def reader(self) -> Reader:
        """Read rows by their columns.

        Raises:
            SourceError: the tokenizer has no chat template.
        """
        if not self.chat_template:
            return PreferenceReader(Texts(self.columns), self.stage)
        chat_template.require_template(self.tokenizer)
        return PreferenceReader(Conversations(self.columns, self.tokenizer), self.stage)


def _two(responses: Sequence[str]) -> tuple[str, str]:
    chosen, rejected, *_ = *responses, "", ""
    return chosen, rejected


def _text(row: Row, column: str) -> str:
    """Take the text of a column.

    Raises:
        MalformedRow: there is no such column, or it holds something else.
        UnusableRow: it is null.
    """
    found = value(row, column)
    if found is None:
        raise UnusableRow(f"column {column} is null")
    if isinstance(found, Sequence) and not isinstance(found, str):
        raise MalformedRow(f"column {column}: expected a text, got a list: chat_template: true reads messages")
    return text(row, column)


def _split_transcript(row: Row, prompt: str, column: str) -> tuple[str, str]:
    """Split a column into the dialogue before the last reply, and the reply."""
    transcript = _text(row, column)
    if dialogue.ASSISTANT not in transcript:
        raise UnusableRow(f"no {prompt}, and {column} is no dialogue in HH-RLHF's form")
    return hh_rlhf.split(transcript)


def _without_reply(prompt: str, responses: Sequence[str]) -> str:
    """Cut a transcript in HH-RLHF's form before its last reply, if that is a response.

    Raises:
        UnusableRow: another prompt ends with its response.
    """
    head, mark, reply = prompt.rpartition(dialogue.ASSISTANT)
    if mark and reply.strip() and reply.strip() in map(str.strip, responses):
        return head + mark
    refuse_leak(prompt, responses)
    return prompt
