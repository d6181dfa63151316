"""Aggregates verdicts into one outcome per pair: disagreeing orders are a tie, annotators vote."""

from collections import defaultdict
from collections.abc import Iterable, Mapping

from lightning_marlhf.records import Verdict

TIE, INVALID = "tie", "invalid"
SCORES = {"a": 1.0, TIE: 0.5, "b": 0.0}  # score of a for each outcome


def latest(verdicts: Iterable[Verdict]) -> list[Verdict]:
    """Keep the last verdict of each judge on each pair in each order."""
    return list({(v.judge, v.pair_id, v.order): v for v in verdicts}.values())


def outcomes(verdicts: Iterable[Verdict]) -> dict[str, str]:
    """Return "a", "b", "tie" or "invalid" for each pair, by its id, in the order of the verdicts.

    Both orders of one judge must name the same winner; otherwise the pair is a tie, or invalid if one of the two
    verdicts is. Several judges (the annotators of one file) vote: the winner has more votes, or it is a tie; invalid
    votes do not count, and a pair without any other vote is invalid.
    """
    by_judge: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for verdict in latest(verdicts):
        by_judge[verdict.pair_id][verdict.judge].append(verdict.winner)
    return {pair_id: _vote([_agree(winners) for winners in judges.values()]) for pair_id, judges in by_judge.items()}


def by_judge(verdicts: Iterable[Verdict]) -> dict[str, list[Verdict]]:
    """Group verdicts by judge."""
    sorted_: dict[str, list[Verdict]] = defaultdict(list)
    for verdict in verdicts:
        sorted_[verdict.judge].append(verdict)
    return dict(sorted_)


def valid(found: Mapping[str, str]) -> dict[str, str]:
    """Drop invalid pairs."""
    return {pair_id: outcome for pair_id, outcome in found.items() if outcome != INVALID}


def _agree(winners: list[str]) -> str:
    if INVALID in winners:
        return INVALID
    return winners[0] if len(set(winners)) == 1 else TIE


def _vote(votes: list[str]) -> str:
    scores = [SCORES[vote] for vote in votes if vote != INVALID]
    if not scores:
        return INVALID
    balance = sum(score - 0.5 for score in scores)
    return TIE if balance == 0 else "a" if balance > 0 else "b"
