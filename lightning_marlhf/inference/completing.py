"""Prompts into completions, batch by batch, with what somebody needs to make them again."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch

from lightning_marlhf.data.examples import Question, TokenizedQuestion
from lightning_marlhf.hub.chat import RefusedDialogueError
from lightning_marlhf.inference.answering import Answerer
from lightning_marlhf.inference.prompts import Prompt, batches
from lightning_marlhf.records import Completion
from lightning_marlhf.rollout.generation import SamplingSettings, row_seeds
from lightning_marlhf.types import Rollout


@dataclass(frozen=True)
class Wanted:
    """An answer that is to be made."""

    sample_id: str
    prompt: Prompt
    sample: int  # which of the answers to this prompt


def wanted_answers(prompts: Sequence[Prompt], num_samples: int) -> Iterator[Wanted]:
    """Name the answers: as their prompt where each has one answer, else with a number behind."""
    for prompt in prompts:
        for sample in range(num_samples):
            name = prompt.sample_id if num_samples == 1 else f"{prompt.sample_id}/{sample}"
            yield Wanted(name, prompt, sample)


def too_long(answerer: Answerer, wanted: Sequence[Wanted], max_new_tokens: int) -> list[Wanted]:
    """Find the answers to prompts that leave the model no room for ``max_new_tokens``."""
    room = answerer.positions - max_new_tokens
    return [each for each in wanted if len(prompt_ids(answerer, each.prompt)) > room]


def refused(answerer: Answerer, wanted: Sequence[Wanted]) -> dict[str, list[Wanted]]:
    """Find the answers to dialogues that the model's chat template refuses, by what it says."""
    found: dict[str, list[Wanted]] = {}
    for each in wanted:
        try:
            prompt_ids(answerer, each.prompt)
        except RefusedDialogueError as error:
            found.setdefault(str(error), []).append(each)
    return found


def prompt_ids(answerer: Answerer, prompt: Prompt) -> list[int]:
    """Tokenise a prompt: its messages in the chat template, where it has some."""
    if prompt.messages is None:
        return answerer.tokenize(prompt.text)
    return answerer.tokenize_turns(prompt.messages)


def complete(
    answerer: Answerer,
    wanted: Sequence[Wanted],
    *,
    settings: SamplingSettings,
    seed: int,
    batch_size: int,
    record: Callable[..., Completion],
) -> Iterator[list[Completion]]:
    """Yield completions in order, batch by batch.

    Args:
        answerer: the model.
        wanted: what is to be made.
        settings: how to sample.
        seed: with the name of a prompt it decides the answer, in any batch.
        batch_size: answers made at a time.
        record: `Completion` with what all rows share.
    """
    for batch in batches(wanted, batch_size):
        rows = [_tokenize(answerer, each.prompt) for each in batch]
        seeds = torch.cat([row_seeds(seed, [w.prompt.sample_id], w.sample) for w in batch])
        rollout = answerer.answer(rows, settings=settings, seeds=seeds)
        yield [_to_completion(rollout, i, each, record) for i, each in enumerate(batch)]


def _tokenize(answerer: Answerer, prompt: Prompt) -> TokenizedQuestion:
    question = Question(prompt.sample_id, prompt.text, messages=prompt.messages)
    return TokenizedQuestion(question, prompt_ids(answerer, prompt))


def _to_completion(
    rollout: Rollout, row: int, wanted: Wanted, record: Callable[..., Completion]
) -> Completion:
    prompts = rollout.prompts
    response_ids = rollout.response_ids[row][rollout.response_mask[row]].tolist()
    return record(
        sample_id=wanted.sample_id,
        prompt=wanted.prompt.text,
        response=rollout.texts[row],
        num_tokens=len(response_ids),
        ended=bool(rollout.ended[row]),
        reference=wanted.prompt.reference,
        prompt_ids=prompts.input_ids[row][prompts.attention_mask[row]].tolist(),
        response_ids=response_ids,
        messages=wanted.prompt.messages,
    )
