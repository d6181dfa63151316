"""Token-level PPO for one response, in plain Python: nothing of torch, nothing of macro actions.

After Schulman et al., "Proximal policy optimization algorithms" (arXiv 1707.06347), eq. 7 and
11-12, and the usual clipped value loss. Advantages are summed up term by term, not by the
recursion.
"""

import math


def advantages(rewards: list[float], values: list[float], gamma: float, lam: float) -> list[float]:
    steps = len(rewards)
    after = [*values[1:], 0.0]
    deltas = [rewards[t] + gamma * after[t] - values[t] for t in range(steps)]
    return [math.fsum((gamma * lam) ** (later - t) * deltas[later] for later in range(t, steps)) for t in range(steps)]


def returns(rewards: list[float], values: list[float], gamma: float, lam: float) -> list[float]:
    pairs = zip(advantages(rewards, values, gamma, lam), values, strict=True)
    return [advantage + value for advantage, value in pairs]


def policy_term(logprob: float, old_logprob: float, advantage: float, clip: float) -> float:
    ratio = math.exp(logprob - old_logprob)
    if advantage > 0:
        return -advantage * min(ratio, 1 + clip)
    return -advantage * max(ratio, 1 - clip)


def value_term(value: float, old_value: float, target: float, clip: float) -> float:
    near = min(max(value, old_value - clip), old_value + clip)
    return max((value - target) ** 2, (near - target) ** 2) / 2
