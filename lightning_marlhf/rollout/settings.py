"""Settings of a rollout: how rewards are shaped and credit is assigned."""

from dataclasses import dataclass
from typing import Annotated, Literal

from lightning_marlhf.ranges import NonNegative, Positive, Range, UnitInterval, checked
from lightning_marlhf.rollout.generation import MIN_TEMPERATURE, SamplingSettings

Pooling = Literal["sum", "equal", "unit", "first", "position", "position_early"]


@checked
@dataclass(frozen=True)
class Credit:
    """How credit is assigned to macro actions.

    Attributes:
        gamma: Discount factor.
        gamma_per: Unit of the discount: "macro" actions (released code) or "token"s (semi-Markov, gamma ** length).
        lam: Lambda of GAE, per macro action.
        reward_pooling: Weights of the token rewards in a macro reward: "sum" (paper), "equal" (released code's mean).
        value_pooling: Weights of the token values in a macro value.
        isolate_last_token: Give the last token a separate macro action (released code).
        whiten_advantages: Normalise advantages to mean 0 and variance 1 over all response tokens of all ranks.
    """

    gamma: UnitInterval = 1.0
    gamma_per: Literal["macro", "token"] = "macro"
    lam: UnitInterval = 0.95
    reward_pooling: Pooling = "sum"
    value_pooling: Pooling = "equal"
    isolate_last_token: bool = False
    whiten_advantages: bool = True

    def __post_init__(self) -> None:
        if self.gamma_per == "token" and self.gamma < 1 and self.reward_pooling != "sum":
            raise ValueError(
                "credit.gamma_per: token discounts the rewards inside a macro action, which needs "
                f"reward_pooling: sum, got {self.reward_pooling}"
            )


@checked
@dataclass(frozen=True)
class Shaping:
    """How a scorer's numbers become rewards.

    Attributes:
        kl_estimator: Estimator of the KL penalty per token; k1 = log pi - log pi_ref is unbiased.
        clamp: Bound of scores, which are clamped to [-clamp, clamp] (released code: 2.5); null does not clamp.
        missing_eos_penalty: Penalty subtracted from the score of a response without EOS (`max_new_tokens` reached).
        normalize: Divide scores by their running standard deviation.
        logprob_temperature: Temperature of all log-probabilities; null takes the sampling temperature (released code:
            1.0).
    """

    kl_estimator: Literal["k1", "k2", "k3"] = "k1"
    clamp: Positive | None = None
    missing_eos_penalty: NonNegative = 0.0
    normalize: bool = False
    logprob_temperature: Annotated[float, Range(at_least=MIN_TEMPERATURE)] | None = None

    def temperature(self, sampling: SamplingSettings) -> float:
        """Return the temperature of log-probabilities; greedy sampling counts as 1."""
        if self.logprob_temperature is not None:
            return self.logprob_temperature
        return sampling.temperature or 1.0
