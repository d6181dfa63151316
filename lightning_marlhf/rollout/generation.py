"""The policy answers: sampling that depends on nothing but the row.

Sampling is reproducible per row: every row has its own seed, every (seed, step) gives one uniform
number by a counter-based generator, and the inverse of the cumulative distribution turns it into a
token. So a row gets the same response alone, in any batch, in any order, under any amount of left
padding, on any rank (as long as the logits agree to rounding). A sharded policy is gathered once for all
tokens; where memory is too short for that, block by block for every token, and ranks that are done make
passes with the others until all are.

The loop is ``generate()`` of transformers, greedy over what a public ``LogitsProcessor`` leaves.
Any other engine may stand behind ``generate`` here.
"""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessor, PreTrainedModel, PreTrainedTokenizerBase
from transformers.generation.streamers import BaseStreamer

from lightning_marlhf.models.backbone import context_length
from lightning_marlhf.models.cache import roomy_cache
from lightning_marlhf.models.fsdp import gathered
from lightning_marlhf.models.policy import Policy
from lightning_marlhf.ops import random
from lightning_marlhf.ranges import NonNegative, NonNegativeInt, PositiveInt, Range, checked
from lightning_marlhf.types import Prompts, Rollout

_SAMPLING_STREAM = 0x53414D504C45  # keeps these numbers apart from others drawn with the row's seed


@checked
@dataclass(frozen=True, kw_only=True)
class SamplingSettings:
    """How responses are sampled; the model's own generation settings are set aside."""

    max_new_tokens: PositiveInt  # EOS included
    temperature: NonNegative = 1.0  # 0: the likeliest token, always
    top_k: NonNegativeInt = 0  # sample from the k likeliest tokens only; 0: from all
    # sample from the likeliest tokens that together reach this probability; 1: from all
    top_p: Annotated[float, Range(above=0, at_most=1)] = 1.0


def generate(
    policy: Policy,
    prompts: Prompts,
    *,
    tokenizer: PreTrainedTokenizerBase,
    settings: SamplingSettings,
    seeds: Int[Tensor, " batch"],
    end_of_turn: int | None = None,
    streamer: BaseStreamer | None = None,
) -> Rollout:
    """Sample one response per prompt.

    Args:
        policy: who answers.
        prompts: left-padded, on the policy's device.
        tokenizer: the policy's; a response ends with its EOS, and is padded with its pad token.
        settings: how to sample.
        seeds: int64, one per row (see ``row_seeds``).
        end_of_turn: a token that ends a response as EOS does.
        streamer: is handed every token as it comes; takes one row only.

    Returns:
        The responses, trimmed to the longest: ``response_mask`` is True up to and including EOS,
        ``ended`` is False for responses that reached ``max_new_tokens`` without one.

    Raises:
        ValueError: if prompts and responses may need more positions than the model has.
    """
    ends = [tokenizer.eos_token_id] + ([] if end_of_turn is None else [end_of_turn])
    width = prompts.input_ids.shape[1]
    _check_positions(policy.lm, width + settings.max_new_tokens)
    config = GenerationConfig(
        max_new_tokens=settings.max_new_tokens,
        do_sample=False,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=ends,
    )
    processors = []
    if settings.temperature > 0:
        seeds = seeds.to(prompts.input_ids.device)
        processors.append(InverseCdf(seeds, settings, prompt_width=width))
    with _as_for_generation(policy), gathered(policy) as in_step:
        sequences = policy.generate(
            prompts.input_ids,
            prompts.attention_mask,
            generation_config=config,
            logits_processor=processors,
            past_key_values=roomy_cache(policy.lm, capacity=width + settings.max_new_tokens),
            streamer=streamer,
            synced_gpus=in_step,
        )
    return _to_rollout(prompts, sequences[:, width:], tokenizer, ends)


class InverseCdf(LogitsProcessor):  # type: ignore[misc]
    """Leaves one token per row: the one that the row's uniform number of this step falls on.

    Args:
        seeds: int64, one per row, on the device of the scores.
        settings: temperature (above 0), top-k and top-p, applied in this order.
        prompt_width: columns before the first response token.
    """

    def __init__(
        self, seeds: Int[Tensor, " batch"], settings: SamplingSettings, *, prompt_width: int
    ) -> None:
        self.settings = settings
        self.prompt_width = prompt_width
        self.uniforms = uniforms(seeds, settings.max_new_tokens)

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Return scores [batch, vocab] whose argmax is the sampled token."""
        scores = _keep_likeliest(scores.double() / self.settings.temperature, self.settings)
        probabilities = scores.softmax(dim=-1)
        cumulative = probabilities.cumsum(dim=-1)
        step = input_ids.shape[1] - self.prompt_width
        threshold = self.uniforms[:, step : step + 1] * cumulative[:, -1:]
        # The first token past the threshold; never one of probability 0, however the sum rounds.
        return ((cumulative > threshold) & (probabilities > 0)).to(torch.uint8)


def _keep_likeliest(scores: Tensor, settings: SamplingSettings) -> Tensor:
    """Set scores outside top-k, then outside top-p, to -inf; ties with the last one kept stay."""
    if 0 < settings.top_k < scores.shape[-1]:
        least = scores.topk(settings.top_k, dim=-1).values[:, -1:]
        scores = scores.masked_fill(scores < least, -torch.inf)
    if settings.top_p < 1:
        ordered = scores.sort(dim=-1, descending=True).values
        probabilities = ordered.softmax(dim=-1)
        before = probabilities.cumsum(dim=-1) - probabilities
        least = ordered.masked_fill(before >= settings.top_p, torch.inf).amin(dim=-1, keepdim=True)
        scores = scores.masked_fill(scores < least, -torch.inf)
    return scores


def row_seeds(seed: int, sample_ids: Sequence[str], visit: int) -> Int[Tensor, " batch"]:
    """Hash the run's seed, the row's name and how often it has been visited into one int64 per row.

    Args:
        seed: the run's.
        sample_ids: names of the rows.
        visit: 0 for the first response to this prompt, 1 for the next; otherwise it would always be
            the same.
    """
    digests = (hashlib.sha256(f"{seed}\0{visit}\0{name}".encode()).digest() for name in sample_ids)
    return torch.tensor(
        [int.from_bytes(digest[:8], "little", signed=True) for digest in digests], dtype=torch.int64
    )


def uniforms(seeds: Int[Tensor, " batch"], steps: int) -> Float[Tensor, "batch steps"]:
    """Give the numbers that rows with these seeds sample their tokens by: float64 in [0, 1)."""
    streams = (seeds ^ _SAMPLING_STREAM).unsqueeze(1).expand(-1, steps)
    return random.uniform(streams, torch.arange(steps, device=seeds.device).expand_as(streams))


@contextmanager
def _as_for_generation(policy: Policy) -> Iterator[None]:
    """Go into evaluation mode (checkpointing would drop the cache), own settings put aside."""
    lm = policy.lm
    was_training, settings = policy.training, lm.generation_config
    policy.eval()
    lm.generation_config = GenerationConfig()
    try:
        yield
    finally:
        lm.generation_config = settings
        policy.train(was_training)


def _check_positions(lm: PreTrainedModel, needed: int) -> None:
    positions = context_length(lm)
    if needed > positions:
        raise ValueError(
            f"max_new_tokens: prompt and response may take {needed} positions, and the model has "
            f"{positions}; shorten the prompts or max_new_tokens."
        )


def _to_rollout(
    prompts: Prompts, responses: Tensor, tokenizer: PreTrainedTokenizerBase, ends: list[int]
) -> Rollout:
    is_eos = torch.isin(responses, torch.tensor(ends, device=responses.device))
    mask = is_eos.cumsum(dim=1) - is_eos.long() == 0
    longest = int(mask.sum(dim=1).max())
    mask = mask[:, :longest]
    responses = responses[:, :longest].masked_fill(~mask, tokenizer.pad_token_id)
    texts = tokenizer.batch_decode(
        responses, skip_special_tokens=True, clean_up_tokenization_spaces=False
    )
    return Rollout(
        prompts=prompts,
        response_ids=responses,
        response_mask=mask,
        texts=tuple(texts),
        ended=is_eos.any(dim=1),
    )
