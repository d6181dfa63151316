"""Sampling of responses, reproducible per row.

Sampling is reproducible per row: every row has its own seed, every (seed, step) gives one uniform number by a
counter-based generator, and the inverse of the cumulative distribution turns it into a token. So a row gets the same
response alone, in any batch, in any order, under any amount of left padding, on any rank (as long as the logits agree
to rounding). A sharded policy is gathered once for all tokens; if memory is too short for that, block by block for
every token, and ranks that are done keep running forward passes until all are.

The loop is ``generate()`` of transformers, greedy over what a public ``LogitsProcessor`` leaves.
Any other engine may stand behind ``generate`` here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessor, PreTrainedTokenizerBase, StoppingCriteria
from transformers.generation.streamers import BaseStreamer

from lightning_marlhf.hub import vocabulary
from lightning_marlhf.hub.end_tokens import response_ends
from lightning_marlhf.hub.tokenizer import decode_responses
from lightning_marlhf.models.backbone import context_length, generation_mode
from lightning_marlhf.models.fsdp import gathered
from lightning_marlhf.models.kv_cache import preallocated_cache
from lightning_marlhf.models.policy import Policy
from lightning_marlhf.ops import masking, random
from lightning_marlhf.ranges import NonNegative, NonNegativeInt, PositiveInt, Range, checked
from lightning_marlhf.seeds import derive_seed
from lightning_marlhf.types import Prompts, Rollout

MIN_TEMPERATURE = 1e-6  # smaller values overflow the logits
_SAMPLING_STREAM = 0x53414D504C45  # keeps these numbers apart from others drawn with the row's seed


@checked
@dataclass(frozen=True, kw_only=True)
class SamplingSettings:
    """How responses are sampled; the model's own generation_config is ignored.

    Attributes:
        max_new_tokens: Maximum new tokens per response, its end included.
        temperature: Sampling temperature; 0 is greedy decoding.
        top_k: Sample from the k most likely tokens only; 0 samples from all.
        top_p: Sample from the most likely tokens that together reach this probability; 1 samples from all.
        stop: Texts that end a response as EOS does; they belong to the response.
    """

    max_new_tokens: PositiveInt
    temperature: NonNegative = 1.0
    top_k: NonNegativeInt = 0
    top_p: Annotated[float, Range(above=0, at_most=1)] = 1.0
    stop: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if 0 < self.temperature < MIN_TEMPERATURE:
            raise ValueError(f"temperature: expected 0 or at least {MIN_TEMPERATURE:g}, got {self.temperature}")
        if isinstance(self.stop, str) or "" in self.stop:
            raise ValueError(f"stop: expected a list of texts, none of them empty, got {self.stop!r}")


def generate(
    policy: Policy,
    prompts: Prompts,
    *,
    tokenizer: PreTrainedTokenizerBase,
    settings: SamplingSettings,
    seeds: Int[Tensor, " batch"],
    streamer: BaseStreamer | None = None,
) -> Rollout:
    """Sample one response per prompt.

    Args:
        policy: samples; full or sharded.
        prompts: left-padded, on the policy's device.
        tokenizer: the policy's; a response is padded with its pad token.
        settings: how to sample.
        seeds: int64, one per row (see ``row_seeds``).
        streamer: receives every token as it is sampled; one row only.

    Returns:
        The responses, trimmed to the longest. One ends with the first token that is its tokenizer's EOS, one of the
        model's ends (see `response_ends`), or completes a stop string: ``response_mask`` is True up to and including
        it, and ``ended`` is False for responses that reached ``max_new_tokens`` without.

    Raises:
        ValueError: if prompts and responses may need more positions than the model has.
    """
    width = prompts.input_ids.shape[1]
    ends = list(dict.fromkeys([tokenizer.eos_token_id, *response_ends(policy.lm)]))
    stops = _StopStrings(settings.stop, tokenizer, prompt_width=width)
    if width + settings.max_new_tokens > (positions := context_length(policy.lm)):
        raise ValueError(
            f"max_new_tokens: prompt and response may take {width + settings.max_new_tokens} positions, and the model "
            f"has {positions}; shorten the prompts or max_new_tokens."
        )
    head_rows = policy.lm.get_output_embeddings().weight.shape[0]
    config = GenerationConfig(
        max_new_tokens=settings.max_new_tokens,
        do_sample=False,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=ends,
        suppress_tokens=vocabulary.ids_without_token(tokenizer, head_rows) or None,  # rows that no token has
    )
    processors = []
    if settings.temperature > 0:
        seeds = seeds.to(prompts.input_ids.device)
        processors.append(InverseCdf(seeds, settings, prompt_width=width))
    with generation_mode(policy.lm), gathered(policy) as in_step:
        sequences = policy.generate(
            prompts.input_ids,
            prompts.attention_mask,
            generation_config=config,
            logits_processor=processors,
            stopping_criteria=[stops] if settings.stop else [],
            past_key_values=preallocated_cache(policy.lm, capacity=width + settings.max_new_tokens),
            streamer=streamer,
            synced_gpus=in_step,
        )
    return _to_rollout(prompts, sequences[:, width:], tokenizer, ends, stops.ends)


class InverseCdf(LogitsProcessor):  # type: ignore[misc]
    """Inverse-CDF sampling: keeps one token per row, the one at the row's uniform number of this step.

    Args:
        seeds: int64, one per row, on the device of the scores.
        settings: temperature (above 0), top-k and top-p, applied in this order.
        prompt_width: columns before the first response token.
    """

    def __init__(self, seeds: Int[Tensor, " batch"], settings: SamplingSettings, *, prompt_width: int) -> None:
        self.settings = settings
        self.prompt_width = prompt_width
        self.uniforms = uniforms(seeds, settings.max_new_tokens)

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Return scores [batch, vocab] whose argmax is the sampled token."""
        scores = _filter_top_k_top_p(scores.double() / self.settings.temperature, self.settings)
        probabilities = scores.softmax(dim=-1)
        cumulative = probabilities.cumsum(dim=-1)
        step = input_ids.shape[1] - self.prompt_width
        threshold = self.uniforms[:, step : step + 1] * cumulative[:, -1:]
        # The first token past the threshold; never one of probability 0, however the sum rounds.
        return ((cumulative > threshold) & (probabilities > 0)).to(torch.uint8)


def _filter_top_k_top_p(scores: Tensor, settings: SamplingSettings) -> Tensor:
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
        visit: 0 for the first response to this prompt, 1 for the next; otherwise it would always be the same.
    """
    return torch.tensor([derive_seed(seed, name, visit) for name in sample_ids], dtype=torch.int64)


def uniforms(seeds: Int[Tensor, " batch"], steps: int) -> Float[Tensor, "batch steps"]:
    """Return the uniform numbers in [0, 1) (float64) by which these rows sample."""
    streams = (seeds ^ _SAMPLING_STREAM).unsqueeze(1).expand(-1, steps)
    return random.uniform(streams, torch.arange(steps, device=seeds.device).expand_as(streams))


class _StopStrings(StoppingCriteria):  # type: ignore[misc]
    """Ends the rows whose response holds one of the strings, with the token that completes it.

    Attributes:
        ends: the column of that token in the response, by row.
    """

    def __init__(self, strings: Sequence[str], tokenizer: PreTrainedTokenizerBase, *, prompt_width: int) -> None:
        self.strings = strings
        self.tokenizer = tokenizer
        self.prompt_width = prompt_width
        self.lookback = 1 + max((len(string.encode()) for string in strings), default=0)
        self.ends: dict[int, int] = {}

    def __call__(self, input_ids: Tensor, scores: Any, **_: Any) -> Tensor:
        """Return which rows [batch] stop, from the text of their last tokens."""
        rows, step = input_ids.tolist(), input_ids.shape[1] - self.prompt_width
        start = max(self.prompt_width, input_ids.shape[1] - self.lookback)
        texts = decode_responses(self.tokenizer, [row[:start] for row in rows], [row[start:] for row in rows])
        for row, text in enumerate(texts):
            if any(string in text for string in self.strings):
                self.ends.setdefault(row, step - 1)
        done = [row in self.ends for row in range(len(rows))]
        return torch.tensor(done, device=input_ids.device)


def _to_rollout(
    prompts: Prompts, responses: Tensor, tokenizer: PreTrainedTokenizerBase, ends: list[int], stopped: Mapping[int, int]
) -> Rollout:
    is_end = torch.isin(responses, torch.tensor(ends, device=responses.device))
    is_end[list(stopped), list(stopped.values())] = True
    mask = is_end.cumsum(dim=1) - is_end.long() == 0
    longest = int(mask.sum(dim=1).max())
    mask = mask[:, :longest]
    responses = responses[:, :longest].masked_fill(~mask, tokenizer.pad_token_id)
    is_text = mask & ~torch.isin(responses, torch.tensor(ends, device=responses.device))
    texts = decode_responses(
        tokenizer, masking.unpadded(prompts.input_ids, prompts.attention_mask), masking.unpadded(responses, is_text)
    )
    return Rollout(
        prompts=prompts, response_ids=responses, response_mask=mask, texts=tuple(texts), ended=is_end.any(dim=1)
    )
