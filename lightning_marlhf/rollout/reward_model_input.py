"""The input of a reward model: prompt and response tokenised as in its training, whatever the policy."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from transformers import PreTrainedTokenizerBase

from lightning_marlhf.hub import chat_template
from lightning_marlhf.hub.reward_format import RewardInput
from lightning_marlhf.hub.tokenizer import Tokens, decode_responses, encode_pairs, encode_prompts
from lightning_marlhf.tasks import dialogue
from lightning_marlhf.types import Messages

TokenIds = tuple[Sequence[int], Sequence[int]]
"""Of a prompt and of the response to it, its end included."""


class Answered(NamedTuple):
    """A response with its prompt."""

    prompt: str  # as the policy saw it, before tokenisation
    response: str  # without special tokens
    ended: bool  # False if it was cut off, so that no EOS follows it
    messages: Messages | None = None  # what the policy's chat template wrote as the prompt
    ids: TokenIds | None = None  # as the policy saw and sampled them, if they were kept


class _Texts(NamedTuple):
    """What is tokenised."""

    prompt: str
    response: str
    ended: bool
    rendered: bool  # by a chat template, which writes all special tokens but EOS


class RewardReader:
    """Tokenises prompts and responses for a reward model.

    Messages are written by its own chat template, if it has one and was not trained on plain text; any other prompt as
    it stands. What was trained here reads what training made of the same row; a model that others published reads the
    whole dialogue as its template writes it.

    Args:
        tokenizer: Tokenizer of the reward model.
        input_format: the input format of its training.
        chat_template: plain prompts are dialogues, too: HH-RLHF's and WebGPT's turns are found, any other is one
            turn of the user.
        always_ends: EOS follows responses that were cut off, too: encoder-decoders (BART, T5) score at EOS.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        input_format: RewardInput,
        *,
        chat_template: bool = False,
        always_ends: bool = False,
    ) -> None:
        self.always_ends = always_ends
        self.tokenizer = tokenizer
        self.input_format = input_format
        self.chat_template = chat_template
        self._known = frozenset(tokenizer.get_vocab().values())

    def renders(self, messages: Messages | None) -> bool:
        """Return whether a prompt is shown in the reward model's own chat template."""
        if messages is None or self.chat_template:
            return self.chat_template
        return bool(self.tokenizer.chat_template) and self.input_format.chat_template is not False

    def refuses(self, row: Answered) -> bool:
        """Return whether the chat template refuses the dialogue of a row."""
        try:
            self._write(row)
        except chat_template.RefusedDialogueError:
            return True
        return False

    def read(self, rows: Sequence[Answered]) -> list[Tokens]:
        """Make the tokens of each row; those that were kept, if the reward model's tokenizer means the same by them.

        Raises:
            RefusedDialogueError: the chat template refuses the dialogue of a row.
        """
        found = self._kept(rows)
        texts = {number: self._write(row) for number, row in enumerate(rows) if number not in found}
        for rendered in (False, True):
            of_kind = {number: each for number, each in texts.items() if each.rendered == rendered}
            if of_kind:
                prompts, responses, ended, _ = zip(*of_kind.values(), strict=True)
                pairs = encode_pairs(
                    self.tokenizer,
                    prompts,
                    responses,
                    ended=[self.always_ends or each for each in ended],
                    joined=self.input_format.joined,
                    special_tokens=not rendered,
                )
                tokens = ([*pair.prompt, *pair.response] for pair in pairs)
                found |= zip(of_kind, tokens, strict=True)
        return [found[number] for number in range(len(rows))]

    def _write(self, row: Answered) -> _Texts:
        if not self.renders(row.messages):
            return _Texts(row.prompt, row.response, row.ended, rendered=False)
        turns = _turns(row)
        if not self.input_format.chat_template:
            return _Texts(chat_template.render(self.tokenizer, turns), "", ended=False, rendered=True)
        *asked, last = turns
        said = row.response
        if row.ended:
            said = chat_template.render_response(self.tokenizer, asked, last["content"])
        return _Texts(self._render_prompt(row), said, row.ended, rendered=True)

    def _kept(self, rows: Sequence[Answered]) -> dict[int, Tokens]:
        """Find the rows whose ids are this tokenizer's: the same for the prompt, and such as decode to the response."""
        found: dict[int, Tokens] = {}
        for rendered in (False, True):
            asked = {
                number: self._render_prompt(row)
                for number, row in enumerate(rows)
                if row.ids is not None and self.renders(row.messages) == rendered
            }
            texts = list(asked.values())
            own = encode_prompts(self.tokenizer, texts, special_tokens=not rendered) if texts else []
            for number, tokens in zip(asked, own, strict=True):
                row = rows[number]
                prompt, response = map(list, row.ids or ((), ()))
                if prompt == tokens and self._decodes_to(prompt, response, row.response):
                    found[number] = [*prompt, *response]
        return found

    def _render_prompt(self, row: Answered) -> str:
        """Render the prompt."""
        if not self.renders(row.messages):
            return row.prompt
        *asked, _ = _turns(row)
        return chat_template.render(self.tokenizer, asked, response_follows=True)

    def _decodes_to(self, prompt: Tokens, response: Tokens, text: str) -> bool:
        """Return whether a response's ids are this tokenizer's for its text, but for what ends it and spaces around."""
        if not self._known.issuperset(response):
            return False
        said = decode_responses(self.tokenizer, [prompt, prompt], [response, response[:-1]])
        return text.strip() in map(str.strip, said)


def _turns(row: Answered) -> list[Mapping[str, str]]:
    """Return the dialogue with the response as the assistant's turn."""
    if row.messages is None:
        return list(dialogue.with_response(row.prompt, row.response))
    return [*row.messages, {"role": "assistant", "content": row.response.strip()}]


def same_vocabulary(one: PreTrainedTokenizerBase, other: PreTrainedTokenizerBase) -> bool:
    """Return whether both tokenizers have the same vocabulary and add the same special tokens."""

    def tokens(tokenizer: PreTrainedTokenizerBase) -> tuple[object, ...]:
        ends = tokenizer.eos_token_id, tokenizer.bos_token_id
        return tokenizer.get_vocab(), ends, encode_prompts(tokenizer, ["x"])

    return tokens(one) == tokens(other)
