"""Rows of text -> padded batches: prompts to the left, prompt and response together to the right.

Padding goes to the longest row of the batch, never to the limit. Prompt and response are tokenised
apart and then joined, so that SFT, reward model and PPO see the same tokens at their border. Every
response ends with EOS.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from lightning_marlhf.data.examples import Demonstration, Preference, Question
from lightning_marlhf.types import PreferencePairs, Prompts, SupervisedBatch


def pad(
    rows: Sequence[Sequence[int]], *, value: int, side: str, to: int = 0
) -> tuple[Tensor, Tensor]:
    """Pad ``rows`` of token ids into a rectangle.

    Args:
        rows: token ids of each row.
        value: the pad token's id.
        side: "left" or "right": where the padding goes.
        to: pad at least to this width.

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


class Collator:
    """Turns examples into the batch of their stage.

    Args:
        tokenizer: the policy's (or reward model's) tokenizer; its BOS, if it has one, starts every prompt.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer = tokenizer
        self.pad_id = int(tokenizer.pad_token_id)

    def prompts(self, examples: Sequence[Question]) -> Prompts:
        """Batch questions, left-padded."""
        texts = [example.prompt for example in examples]
        ids, mask = pad(self._prompt_ids(texts), value=self.pad_id, side="left")
        return Prompts(
            input_ids=ids,
            attention_mask=mask,
            sample_ids=tuple(example.sample_id for example in examples),
            texts=tuple(texts),
            references=tuple(example.reference for example in examples),
        )

    def demonstrations(self, examples: Sequence[Demonstration]) -> SupervisedBatch:
        """Batch demonstrations, right-padded, with a mask over the response and its EOS."""
        prompts = self._prompt_ids([example.prompt for example in examples])
        answers = self._answer_ids([example.response for example in examples])
        ids, mask = pad(_join(prompts, answers), value=self.pad_id, side="right")
        starts = torch.tensor([[len(prompt)] for prompt in prompts])
        return SupervisedBatch(ids, mask, mask & (torch.arange(ids.shape[1]) >= starts))

    def preferences(self, examples: Sequence[Preference]) -> PreferencePairs:
        """Batch preference pairs, right-padded to one width."""
        prompts = self._prompt_ids([example.prompt for example in examples])
        chosen = _join(prompts, self._answer_ids([example.chosen for example in examples]))
        rejected = _join(prompts, self._answer_ids([example.rejected for example in examples]))
        ids, mask = pad(chosen + rejected, value=self.pad_id, side="right")
        size = len(examples)
        agreement = torch.tensor([example.agreement for example in examples])
        return PreferencePairs(ids[:size], mask[:size], ids[size:], mask[size:], agreement)

    def _prompt_ids(self, texts: Sequence[str]) -> list[list[int]]:
        return self.tokenizer(list(texts)).input_ids  # type: ignore[no-any-return]

    def _answer_ids(self, texts: Sequence[str]) -> list[list[int]]:
        eos = self.tokenizer.eos_token_id
        rows = self.tokenizer(list(texts), add_special_tokens=False).input_ids
        return [[*row, eos] for row in rows]


def _join(prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[int]]) -> list[list[int]]:
    return [[*prompt, *answer] for prompt, answer in zip(prompts, answers, strict=True)]
