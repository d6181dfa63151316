"""Win rates with intervals, effects of order and length control; and the agreement of judges.

The length-controlled win rate is a logistic fit of the outcomes on the difference of lengths, evaluated at equal
lengths. It is not AlpacaEval's LC (arXiv 2404.04475), which also has a term for the difficulty of each of its own 805
instructions.
"""

import itertools
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import optimize, special, stats
from torchmetrics.functional.classification import multiclass_cohen_kappa

from lightning_marlhf.evaluation import outcomes
from lightning_marlhf.evaluation.bootstrap import CONFIDENCE, interval, mean_interval
from lightning_marlhf.evaluation.pairs import Pair
from lightning_marlhf.records import Verdict, WinRate

FEW_PAIRS = 100  # length control is unreliable with fewer
_REFITS = 500  # bootstrap resamples of length control, each of which is fitted
_PRIOR_SD = 10.0  # of both coefficients; keeps them finite if length alone decides every pair
_OUTCOMES = ("a", "b", outcomes.TIE)


def summarize(verdicts: Sequence[Verdict], pairs: Sequence[Pair], *, seed: int = 0) -> WinRate:
    """Summarise verdicts as a win rate.

    Args:
        verdicts: Verdicts of one judge, or of several annotators, who then vote.
        pairs: Judged pairs; verdicts on others do not count.
        seed: Seed of the bootstrap.
    """
    by_id = {pair.pair_id: pair for pair in pairs}
    verdicts = [v for v in outcomes.latest(verdicts) if v.pair_id in by_id]
    found = outcomes.outcomes(verdicts)
    kept = outcomes.valid(found)
    judged = [by_id[pair_id] for pair_id in kept]
    scores = np.array([outcomes.SCORES[outcome] for outcome in kept.values()])
    wins, ties, losses = (int((scores == value).sum()) for value in (1.0, 0.5, 0.0))
    names = list(dict.fromkeys(v.judge for v in verdicts))
    low = high = None
    if len(set(prompts := [pair.prompt for pair in judged])) > 1:
        low, high = mean_interval(scores, prompts, seed=seed)
    return WinRate(
        judge=" + ".join(names),
        pairs=len(found),
        wins=wins,
        ties=ties,
        losses=losses,
        invalid=len(found) - len(kept),
        win_rate=_mean(scores),
        low=low,
        high=high,
        **_decisive(wins, losses),
        **_order_effects(verdicts),
        **_lengths(scores, judged, seed=seed),
    )


def _decisive(wins: int, losses: int) -> dict[str, float | None]:
    names = ("decisive_rate", "wilson_low", "wilson_high", "sign_p")
    if not wins + losses:
        return dict.fromkeys(names)
    test = stats.binomtest(wins, wins + losses)
    wilson = test.proportion_ci(CONFIDENCE, method="wilson")
    numbers = (wins / (wins + losses), wilson.low, wilson.high, test.pvalue)
    return {name: float(number) for name, number in zip(names, numbers, strict=True)}


def _order_effects(verdicts: Sequence[Verdict]) -> dict[str, float | None]:
    orders: dict[tuple[str, str], dict[str, str]] = defaultdict(dict)
    first = []
    for verdict in verdicts:
        if not verdict.order or verdict.winner == outcomes.INVALID:
            continue
        orders[verdict.judge, verdict.pair_id][verdict.order] = verdict.winner
        if verdict.winner != outcomes.TIE:
            first.append(verdict.order[0] == verdict.winner)
    both = [winners for winners in orders.values() if len(winners) == 2]
    flips = [winners["ab"] != winners["ba"] for winners in both]
    return {"flip_rate": _mean(flips), "first_position_rate": _mean(first)}


def _lengths(scores: np.ndarray, pairs: Sequence[Pair], *, seed: int) -> dict[str, object]:
    a = np.array([len(pair.a) for pair in pairs], dtype=float)
    b = np.array([len(pair.b) for pair in pairs], dtype=float)
    unequal = (scores != 0.5) & (a != b)
    longer = (scores > 0.5) == (a > b)
    numbers: dict[str, object] = {
        "longer_wins": _mean(longer[unequal]),
        "mean_length_a": _mean(a),
        "mean_length_b": _mean(b),
    }
    rate, low, high, remark = _length_controlled(scores, a, b, pairs, seed=seed)
    return numbers | {
        "length_controlled": rate,
        "length_controlled_low": low,
        "length_controlled_high": high,
        "remarks": (remark,) if remark else (),
    }


def _length_controlled(
    scores: np.ndarray, a: np.ndarray, b: np.ndarray, pairs: Sequence[Pair], *, seed: int
) -> tuple[float | None, float | None, float | None, str]:
    """Return the length-controlled win rate, the ends of its interval, and a remark on its reliability."""
    prompts = [pair.prompt for pair in pairs]
    if len(set(scores)) < 2 or len(set(prompts)) < 2:
        why = "all outcomes are the same" if len(set(scores)) == 1 else "too few pairs"
        return None, None, None, f"no length-controlled win rate: {why}"
    scale = (a - b).std()
    relative = np.tanh((a - b) / scale) if scale > 0 else np.zeros_like(a)

    def statistic(rows: np.ndarray) -> float:
        return _rate_at_equal_lengths(scores[rows], relative[rows])

    low, high = map(float, interval(statistic, prompts, resamples=_REFITS, seed=seed))
    few = f"the length-controlled win rate is unreliable below {FEW_PAIRS} pairs"
    remark = few if len(scores) < FEW_PAIRS else ""
    return _rate_at_equal_lengths(scores, relative), low, high, remark


def _rate_at_equal_lengths(scores: NDArray, relative: NDArray) -> float:
    """Fit P(a wins) = sigmoid(level + slope * relative) by (lightly penalised) maximum likelihood.

    Args:
        scores: Outcome of each pair, from 0 (b wins) to 1 (a wins).
        relative: tanh of the difference of lengths (a - b) in standard deviations.

    Returns:
        sigmoid(level).
    """

    def loss(coefficients: NDArray) -> tuple[float, NDArray]:
        logits = coefficients[0] + coefficients[1] * relative
        penalty = (coefficients**2).sum() / (2 * _PRIOR_SD**2)
        residual = special.expit(logits) - scores
        value = (np.logaddexp(0, logits) - scores * logits).sum() + penalty
        gradient = np.array([residual.sum(), (residual * relative).sum()])
        return float(value), gradient + coefficients / _PRIOR_SD**2

    level, _ = optimize.minimize(loss, np.zeros(2), jac=True, method="BFGS").x
    return float(special.expit(level))


def _mean(values: Sequence[float] | np.ndarray) -> float | None:
    return float(np.mean(values)) if len(values) else None


@dataclass(frozen=True)
class Agreement:
    """Agreement of two judges over the pairs with a valid outcome of both."""

    first: str
    second: str
    pairs: int
    raw: float | None  # fraction of pairs with the same outcome, ties included
    low: float | None  # 95 %, bootstrap over pairs
    high: float | None
    kappa: float | None  # Cohen's, unweighted; None if both always give the same one outcome
    decisive_pairs: int  # pairs on which neither says tie
    decisive_raw: float | None  # fraction of these with the same winner


def agreement(
    first: Mapping[str, str], second: Mapping[str, str], *, names: tuple[str, str], seed: int = 0
) -> Agreement:
    """Compare two judges' outcomes, each by the pair's id (see ``outcomes.outcomes``)."""
    first, second = outcomes.valid(first), outcomes.valid(second)
    common = [pair_id for pair_id in first if pair_id in second]
    one = torch.tensor([_OUTCOMES.index(first[pair_id]) for pair_id in common], dtype=torch.long)
    two = torch.tensor([_OUTCOMES.index(second[pair_id]) for pair_id in common], dtype=torch.long)
    same = (one == two).double()
    tie = _OUTCOMES.index(outcomes.TIE)
    decisive = same[(one != tie) & (two != tie)]
    low = high = None
    if len(common) > 1:
        low, high = mean_interval(same.numpy(), common, seed=seed)
    kappa = multiclass_cohen_kappa(one, two, num_classes=len(_OUTCOMES)).item() if common else math.nan
    return Agreement(
        first=names[0],
        second=names[1],
        pairs=len(common),
        raw=same.mean().item() if common else None,
        low=low,
        high=high,
        kappa=kappa if math.isfinite(kappa) else None,
        decisive_pairs=len(decisive),
        decisive_raw=decisive.mean().item() if len(decisive) else None,
    )


def pairwise(verdicts: Sequence[Verdict], *, seed: int = 0) -> list[Agreement]:
    """Compare every two judges who have pairs in common."""
    judges = {name: outcomes.outcomes(theirs) for name, theirs in outcomes.by_judge(verdicts).items()}
    found = [
        agreement(judges[one], judges[two], names=(one, two), seed=seed)
        for one, two in itertools.combinations(judges, 2)
    ]
    return [each for each in found if each.pairs]
