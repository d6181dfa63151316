"""Two files of completions -> the pairs that people shall see, in their order."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lightning_marlhf.evaluation.pairs import Pair, Pairing, digest, pair_completions
from lightning_marlhf.records import Completion, read_jsonl

# What a file of another program may lack, and nobody sees here.
_UNKNOWN = {"sample_id": "", "model": "", "seed": 0, "step": None, "num_tokens": 0, "ended": True}


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


def read_pairing(a: Path, b: Path) -> Pairing:
    """Read two files of completions and pair them.

    Raises:
        ValueError: a row without prompt or response, or no prompt in common.
    """
    pairing = pair_completions(_read(a), _read(b))
    if not pairing.pairs:
        raise ValueError(
            f"{a} and {b} have no prompt in common: expected answers to the same prompts"
        )
    return pairing


def select(pairs: Sequence[Pair], *, num: int | None, overlap: float, seed: int) -> Selection:
    """Draw ``num`` pairs (None: all) and their order; a share ``overlap`` of them is everybody's.

    The order is that of hashes, so that more pairs, or the same in another order, leave it as it is.
    """
    drawn = sorted(pairs, key=lambda pair: digest(str(seed), pair.pair_id))[:num]
    shared = math.ceil(round(overlap * len(drawn), 6))  # 0.2 * 15 is a hair above 3
    return Selection(tuple(drawn), shared, seed)


def _read(path: Path) -> list[Completion]:
    rows = list(read_jsonl(path))
    if not rows:
        raise ValueError(f"no completions in {path}")
    for number, row in enumerate(rows, start=1):
        for key in ("prompt", "response"):
            if not isinstance(row.get(key), str):
                raise ValueError(f"{path}: row {number}: expected `{key}` with a text")
    return [Completion.from_dict(_UNKNOWN | row) for row in rows]
