"""Rows -> padded batches: prompts to the left, prompt and response together to the right.

Padding goes to the longest row of the batch, not to a limit, unless asked for. Rows of text are tokenised here,
prompt and response apart and then joined, so that SFT, reward model and PPO see the same tokens at their border. Every
response ends with one end: EOS, or a template's end of turn.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from lightning_marlhf.data.examples import (
    Demonstration,
    Preference,
    PromptExample,
    TokenizedDemonstration,
    TokenizedPreference,
    TokenizedPrompt,
)
from lightning_marlhf.hub.tokenizer import Pair, encode_pairs, encode_prompts
from lightning_marlhf.types import PreferencePairs, Prompts, SupervisedBatch


def pad(rows: Sequence[Sequence[int]], *, value: int, side: str, to: int = 0) -> tuple[Tensor, Tensor]:
    """Pad ``rows`` of token ids into a rectangle.

    Args:
        rows: Token ids of each row.
        value: The pad token's id.
        side: "left" or "right": where the padding goes.
        to: Pad at least to this width.

    Returns:
        Ids and mask, both [batch, width]; the mask is True on real tokens.
    """
    width = max(to, *(len(row) for row in rows))
    ids = torch.full((len(rows), width), value, dtype=torch.long)
    mask = torch.zeros((len(rows), width), dtype=torch.bool)
    for i, row in enumerate(rows):
        place = slice(width - len(row), width) if side == "left" else slice(0, len(row))
        ids[i, place] = torch.tensor(row, dtype=torch.long)
        mask[i, place] = True
    return ids, mask


class Padder:
    """Pads rows of tokens into the batch of their stage.

    Args:
        pad_id: The pad token's id.
        width: Pad rows with responses at least to this width; 0 to the longest row only.
    """

    def __init__(self, pad_id: int, *, width: int = 0) -> None:
        self.pad_id = pad_id
        self.width = width

    def prompts(self, rows: Sequence[TokenizedPrompt]) -> Prompts:
        """Batch prompts, left-padded."""
        ids, mask = pad([row.prompt_ids for row in rows], value=self.pad_id, side="left")
        return Prompts(
            input_ids=ids,
            attention_mask=mask,
            sample_ids=tuple(row.example.sample_id for row in rows),
            texts=tuple(row.example.prompt for row in rows),
            references=tuple(row.example.reference for row in rows),
            messages=tuple(row.example.messages for row in rows),
        )

    def demonstrations(self, rows: Sequence[TokenizedDemonstration]) -> SupervisedBatch:
        """Batch demonstrations, right-padded, with a mask over the response and its EOS."""
        ids, mask = self._pad_right([row.ids for row in rows])
        starts = torch.tensor([[row.response_start] for row in rows])
        lengths = tuple(len(row.ids) for row in rows)
        return SupervisedBatch(
            input_ids=ids,
            attention_mask=mask,
            response_mask=mask & (torch.arange(ids.shape[1]) >= starts),
            lengths=lengths,
        )

    def preferences(self, rows: Sequence[TokenizedPreference]) -> PreferencePairs:
        """Batch preference pairs, right-padded to one width."""
        responses = [row.chosen_ids for row in rows] + [row.rejected_ids for row in rows]
        ids, mask = self._pad_right(responses)
        size = len(rows)
        return PreferencePairs(
            chosen_ids=ids[:size],
            chosen_mask=mask[:size],
            rejected_ids=ids[size:],
            rejected_mask=mask[size:],
            agreement=torch.tensor([row.agreement for row in rows]),
            lengths=tuple(max(len(row.chosen_ids), len(row.rejected_ids)) for row in rows),
        )

    def _pad_right(self, rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
        return pad(rows, value=self.pad_id, side="right", to=self.width)


class Collator:
    """Tokenises rows of text, prompt and response apart, and pads them into the batch of their stage.

    Args:
        tokenizer: The policy's (or reward model's) tokenizer; its BOS, if it has one, starts every prompt.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer = tokenizer
        self.padder = Padder(int(tokenizer.pad_token_id))

    def prompts(self, examples: Sequence[PromptExample]) -> Prompts:
        """Batch prompts, left-padded."""
        ids = encode_prompts(self.tokenizer, [example.prompt for example in examples])
        return self.padder.prompts(list(map(TokenizedPrompt, examples, ids)))

    def demonstrations(self, examples: Sequence[Demonstration]) -> SupervisedBatch:
        """Batch demonstrations, right-padded, with a mask over the response and its EOS."""
        pairs = self._pairs(examples, [example.response for example in examples])
        rows = [TokenizedDemonstration([*pair.prompt, *pair.response], len(pair.prompt)) for pair in pairs]
        return self.padder.demonstrations(rows)

    def preferences(self, examples: Sequence[Preference]) -> PreferencePairs:
        """Batch preference pairs, right-padded to one width."""
        chosen = self._pairs(examples, [example.chosen for example in examples])
        rejected = self._pairs(examples, [example.rejected for example in examples])
        rows = [
            TokenizedPreference([*a.prompt, *a.response], [*b.prompt, *b.response], example.agreement)
            for example, a, b in zip(examples, chosen, rejected, strict=True)
        ]
        return self.padder.preferences(rows)

    def _pairs(self, examples: Sequence[Demonstration | Preference], responses: Sequence[str]) -> list[Pair]:
        return encode_pairs(self.tokenizer, [example.prompt for example in examples], responses)
