"""The pairs that people shall see, in their order."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from lightning_marlhf.evaluation.pair_files import draw
from lightning_marlhf.evaluation.pairs import Pair, digest


@dataclass(frozen=True)
class Selection:
    """The pairs to compare.

    Attributes:
        pairs: in the order in which they are shown, drawn from the seed.
        num_shared: how many of them, from the first, every annotator gets; each of the others goes to one.
        seed: draws the order of pairs and which answer stands left.
    """

    pairs: tuple[Pair, ...]
    num_shared: int
    seed: int


def select(pairs: Sequence[Pair], *, num: int | None, overlap: float, seed: int) -> Selection:
    """Draw the pairs of ``num`` prompts (None: all), as `win-rate` does, and an order of theirs.

    Whoever asks for more has these first, so that annotators can go on. A share ``overlap`` is everybody's.
    """
    drawn = draw(pairs, num, seed=seed, by_subreddit=False)
    drawn.sort(key=lambda pair: (digest(str(seed), pair.prompt), pair.pair_id))
    shared = math.ceil(round(overlap * len(drawn), 6))  # 0.07 * 100 is a hair above 7
    return Selection(tuple(drawn), shared, seed)
