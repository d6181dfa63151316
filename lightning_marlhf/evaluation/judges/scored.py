"""Two scores -> a verdict, for judges that see each text alone."""

import json
import math

from lightning_marlhf.evaluation.pairs import Pair
from lightning_marlhf.records import Verdict

ORDERS = ("",)


def compare(
    pair: Pair, a: float, b: float, *, judge: str, margin: float = 0.0, p_a: float | None = None
) -> Verdict:
    """Name the answer with the higher score.

    Args:
        pair: the answers.
        a: the score of the first.
        b: of the second.
        judge: whose scores these are.
        margin: scores that differ by no more are a tie.
        p_a: the probability that a is better, where scores say one.
    """
    if not (math.isfinite(a) and math.isfinite(b)):
        return invalid(pair, f"scores are {a} and {b}", judge=judge)
    winner = "tie" if abs(a - b) <= margin else "a" if a > b else "b"
    scores = json.dumps({"a": a, "b": b})
    return Verdict(pair.pair_id, pair.fingerprint, "", winner, judge, p_a=p_a, raw=scores)


def invalid(pair: Pair, why: str, *, judge: str) -> Verdict:
    """Say that a pair cannot be judged."""
    return Verdict(pair.pair_id, pair.fingerprint, "", "invalid", judge, error=why)
