"""Strengths of several models from comparisons of two at a time (Bradley and Terry, 1952)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special

from lightning_marlhf.evaluation.bootstrap import interval

_PRIOR_SD = 5.0  # of a strength; keeps it finite where a model wins everything
_RESAMPLES = 300


@dataclass(frozen=True)
class Comparison:
    """One prompt answered by two models."""

    prompt: str
    a: str  # a model
    b: str
    score: float  # to a: 1 win, 0.5 tie, 0 loss


@dataclass(frozen=True)
class Strength:
    """Of a model; sigmoid of the difference of two is the probability that the first wins."""

    model: str
    value: float  # in nats; the mean over the models is 0
    low: float  # 95 %, bootstrap over prompts
    high: float
    comparisons: int


def strengths(comparisons: Sequence[Comparison], *, seed: int = 0) -> list[Strength]:
    """Fit all models' strengths, strongest first; a tie is half a win of each.

    Raises:
        ValueError: fewer than two models or prompts, or models that no chain of comparisons connects.
    """
    models = sorted({model for each in comparisons for model in (each.a, each.b)})
    number = {model: index for index, model in enumerate(models)}
    a = np.array([number[each.a] for each in comparisons])
    b = np.array([number[each.b] for each in comparisons])
    scores = np.array([each.score for each in comparisons])
    _check(models, a, b)
    prompts = [each.prompt for each in comparisons]
    values = _fit(a, b, scores, len(models))
    low, high = interval(
        lambda rows: _fit(a[rows], b[rows], scores[rows], len(models)),
        prompts,
        resamples=_RESAMPLES,
        seed=seed,
    )
    counts = np.bincount(np.concatenate([a, b]))
    numbers = zip(
        models, values.tolist(), low.tolist(), high.tolist(), counts.tolist(), strict=True
    )
    return sorted((Strength(*each) for each in numbers), key=lambda each: -each.value)


def _fit(a: NDArray, b: NDArray, scores: NDArray, num_models: int) -> NDArray:
    def loss(values: NDArray) -> tuple[float, NDArray]:
        logits = values[a] - values[b]
        residual = special.expit(logits) - scores
        slope = np.bincount(a, residual, num_models) - np.bincount(b, residual, num_models)
        value = (np.logaddexp(0, logits) - scores * logits).sum()
        penalty = (values**2).sum() / (2 * _PRIOR_SD**2)
        return float(value + penalty), slope + values / _PRIOR_SD**2

    values: NDArray = optimize.minimize(loss, np.zeros(num_models), jac=True, method="BFGS").x
    return values - values.mean()


def _check(models: Sequence[str], a: NDArray, b: NDArray) -> None:
    if len(models) < 2:
        raise ValueError(f"expected comparisons of at least two models, got {models}")
    connected = {int(a[0])}
    while grown := {int(j) for i, j in [*zip(a, b, strict=True), *zip(b, a, strict=True)]
                    if i in connected} - connected:  # fmt: skip
        connected |= grown
    if len(connected) < len(models):
        apart = [model for index, model in enumerate(models) if index not in connected]
        raise ValueError(f"no comparison connects {', '.join(apart)} with {models[int(a[0])]}")
