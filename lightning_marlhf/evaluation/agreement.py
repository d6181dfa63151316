"""Agreement of two judges: the fraction of equal outcomes, and Cohen's kappa, which corrects it for chance."""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torchmetrics.functional.classification import multiclass_cohen_kappa

from lightning_marlhf.evaluation import outcomes
from lightning_marlhf.evaluation.bootstrap import mean_interval
from lightning_marlhf.records import Verdict

_CLASSES = ("a", "b", outcomes.TIE)


@dataclass(frozen=True)
class Agreement:
    """Agreement of two judges over the pairs with a valid outcome of both."""

    first: str
    second: str
    pairs: int
    raw: float | None  # share of pairs with the same outcome, ties included
    low: float | None  # 95 %, bootstrap over pairs
    high: float | None
    kappa: float | None  # Cohen's, unweighted; None where both always give the same one outcome
    decisive_pairs: int  # pairs on which neither says tie
    decisive_raw: float | None  # share of these with the same winner


def agreement(
    first: Mapping[str, str], second: Mapping[str, str], *, names: tuple[str, str], seed: int = 0
) -> Agreement:
    """Compare two judges' outcomes, each by the pair's id (see ``outcomes.outcomes``)."""
    first, second = outcomes.valid(first), outcomes.valid(second)
    common = [pair_id for pair_id in first if pair_id in second]
    one = torch.tensor([_CLASSES.index(first[pair_id]) for pair_id in common], dtype=torch.long)
    two = torch.tensor([_CLASSES.index(second[pair_id]) for pair_id in common], dtype=torch.long)
    same = (one == two).double()
    tie = _CLASSES.index(outcomes.TIE)
    decisive = same[(one != tie) & (two != tie)]
    low = high = None
    if len(common) > 1:
        low, high = mean_interval(same.numpy(), common, seed=seed)
    return Agreement(
        first=names[0],
        second=names[1],
        pairs=len(common),
        raw=same.mean().item() if common else None,
        low=low,
        high=high,
        kappa=_kappa(one, two),
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


def _kappa(one: torch.Tensor, two: torch.Tensor) -> float | None:
    if not len(one):
        return None
    kappa = multiclass_cohen_kappa(one, two, num_classes=len(_CLASSES)).item()
    return None if math.isnan(kappa) else kappa
