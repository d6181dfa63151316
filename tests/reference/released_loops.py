"""The released code's arithmetic, one row at a time, in loops over tokens and macro actions.

Slow on purpose, and with its defects: written after the description of ernie-research/MA-RLHF at
807551d, `ppo_trainer.py`, to be compared with `lightning_marlhf.ops` and to be timed against it.
Every tensor is one row without padding, `[1, response]`. A macro action is given by its start; the
last start is always the last token, so where a boundary falls on it as well there is an empty macro
action in between.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Settings:
    gamma: float
    lam: float
    kl_coef: float
    clip: float
    value_clip: float
    reward_clip: float


def fixed_starts(mask: Tensor, ngram: int) -> list[int]:
    starts, tokens = [0], 0
    for t in range(mask.shape[1] - 1):
        tokens += mask[0, t].item()
        if tokens == ngram:
            starts.append(t + 1)
            tokens = 0
    return [*starts, mask.shape[1] - 1]


def randomized_starts(mask: Tensor, lengths: list[int]) -> list[int]:
    starts, tokens, draw = [0], 0, 0
    for t in range(mask.shape[1] - 1):
        tokens += mask[0, t].item()
        if tokens == lengths[draw]:
            starts.append(t + 1)
            tokens = 0
            draw += 1
            if draw == len(lengths):
                break
    return [*starts, mask.shape[1] - 1]


def perplexity_starts(perplexity: list[float]) -> list[int]:
    rises = [t for t in range(len(perplexity) - 1) if perplexity[t + 1] > perplexity[t]]
    return [*sorted({0, *rises}), len(perplexity) - 1]


def token_rewards(logprobs: Tensor, ref_logprobs: Tensor, score: float, settings: Settings) -> Tensor:
    rewards = -settings.kl_coef * (logprobs - ref_logprobs)
    rewards[0, -1] += max(-settings.reward_clip, min(settings.reward_clip, score))
    return rewards


def pool(tokens: Tensor, starts: list[int], value_function: str) -> Tensor:
    pooled = torch.zeros(1, len(starts), dtype=tokens.dtype)
    for tau, piece in enumerate(_split(tokens, starts)):
        if piece.numel() == 0:
            continue
        weights = torch.ones_like(piece[0])
        if value_function == "position":
            weights = 1.0 / torch.arange(1, piece.numel() + 1)  # float32, as released
        pooled[0, tau] = (piece[0] * (weights / weights.sum()).to(piece)).sum()
    return pooled


def advantages_and_returns(values: Tensor, rewards: Tensor, settings: Settings) -> tuple[Tensor, Tensor]:
    advantage, backwards = torch.zeros(()), []
    for tau in reversed(range(rewards.shape[1])):
        next_value = values[:, tau + 1] if tau + 1 < rewards.shape[1] else 0.0
        delta = rewards[:, tau] + settings.gamma * next_value - values[:, tau]
        advantage = delta + settings.gamma * settings.lam * advantage
        backwards.append(advantage)
    advantages = torch.stack(backwards[::-1], dim=1)
    return advantages, advantages + values


def policy_loss(logprobs: Tensor, old: Tensor, advantages: Tensor, starts: list[int], settings: Settings) -> Tensor:
    ratio = torch.exp(logprobs - old)
    total, tokens = torch.zeros((), dtype=ratio.dtype), 0
    for tau, piece in enumerate(_split(ratio, starts)):
        advantage = advantages[:, tau]
        unclipped = -advantage * piece
        clipped = -advantage * torch.clamp(piece, 1.0 - settings.clip, 1.0 + settings.clip)
        total = total + torch.max(unclipped, clipped).sum()
        tokens += piece.numel()
    return total / tokens


def value_loss(values: Tensor, old: Tensor, returns: Tensor, starts: list[int], settings: Settings) -> Tensor:
    bounded = torch.clamp(values, old - settings.value_clip, old + settings.value_clip)
    total, tokens = torch.zeros((), dtype=values.dtype), 0
    pieces = zip(_split(values, starts), _split(bounded, starts), strict=True)
    for tau, (piece, bounded_piece) in enumerate(pieces):
        error = (piece - returns[:, tau]) ** 2
        bounded_error = (bounded_piece - returns[:, tau]) ** 2
        total = total + 0.5 * torch.max(error, bounded_error).sum()
        tokens += piece.numel()
    return total / tokens


def _split(tokens: Tensor, starts: list[int]) -> tuple[Tensor, ...]:
    ends = [*starts[1:], tokens.shape[1]]
    lengths = [end - start for start, end in zip(starts, ends, strict=True)]
    return torch.split(tokens, lengths, dim=1)
