"""Win rate without the judge's liking for length.

A logistic fit of the outcomes on the difference of lengths, read where that is zero. Not AlpacaEval's LC (arXiv
2404.04475): there is no term for the difficulty of each instruction, which belongs to its own 805 prompts.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special

_PRIOR_SD = 10.0  # of both coefficients; keeps them finite where length alone decides every pair


@dataclass(frozen=True)
class LengthFit:
    """sigmoid(level + slope * tanh(difference / scale)) is the probability that a wins."""

    level: float
    slope: float

    @property
    def win_rate(self) -> float:
        """Of answers that are equally long."""
        return float(special.expit(self.level))


def relative_lengths(lengths_a: NDArray, lengths_b: NDArray) -> NDArray:
    """Return tanh of the differences of lengths (a - b) in standard deviations; 0 where all are equal."""
    difference = np.asarray(lengths_a, float) - np.asarray(lengths_b, float)
    scale = difference.std()
    return np.tanh(difference / scale) if scale > 0 else np.zeros_like(difference)


def fit(scores: NDArray, relative: NDArray) -> LengthFit:
    """Fit outcomes to relative lengths by (lightly penalised) maximum likelihood.

    Args:
        scores: what each pair's outcome is worth to a, from 0 to 1.
        relative: see ``relative_lengths``.
    """

    def loss(coefficients: NDArray) -> tuple[float, NDArray]:
        logits = coefficients[0] + coefficients[1] * relative
        penalty = (coefficients**2).sum() / (2 * _PRIOR_SD**2)
        residual = special.expit(logits) - scores
        value = (np.logaddexp(0, logits) - scores * logits).sum() + penalty
        slope = np.array([residual.sum(), (residual * relative).sum()])
        return float(value), slope + coefficients / _PRIOR_SD**2

    found = optimize.minimize(loss, np.zeros(2), jac=True, method="BFGS")
    return LengthFit(float(found.x[0]), float(found.x[1]))
