"""What has been judged: how much by whom, how often annotators agree, what is left."""

from collections import Counter
from collections.abc import Iterator
from itertools import combinations

from lightning_marlhf.annotation.selection import Selection
from lightning_marlhf.annotation.store import KIND, VerdictFile


def summarize(selection: Selection, verdicts: VerdictFile) -> Iterator[str]:
    """Yield lines: verdicts of each annotator, raw agreement of every two of them, pairs without a verdict."""
    rows = list(verdicts)
    yield f"{verdicts.path}: {_count(len(rows), 'verdict')}"
    for judge, count in Counter(row.judge for row in rows).items():
        yield f"  {judge.removeprefix(KIND)}: {count}"
    yield from _agreement(verdicts)
    judged = {row.pair_id for row in rows}
    left = sum(pair.pair_id not in judged for pair in selection.pairs)
    yield f"left: {left} of {_count(len(selection.pairs), 'pair')} without a verdict"


def _agreement(verdicts: VerdictFile) -> Iterator[str]:
    """Compare every two annotators where both have judged; chance is left to `win-rate`."""
    winners: dict[str, dict[str, str]] = {}
    for row in verdicts:
        winners.setdefault(row.judge, {})[row.pair_id] = row.winner
    for one, other in combinations(winners, 2):
        both = winners[one].keys() & winners[other].keys()
        if both:
            same = sum(winners[one][pair_id] == winners[other][pair_id] for pair_id in both)
            names = " and ".join(judge.removeprefix(KIND) for judge in (one, other))
            yield f"  {names} agree on {same} of {_count(len(both), 'pair')} ({same / len(both):.0%})"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
