"""Two files of answers -> the pairs to be judged."""

import re
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from lightning_marlhf.display.text import printable
from lightning_marlhf.evaluation.pairs import Pair, Pairing, digest, pair_completions
from lightning_marlhf.inference.completions import read_responses

_SUBREDDIT = re.compile(r"^Subreddit: r/(\S+)", re.MULTILINE)


def read_pairs(a: Path, b: Path) -> Pairing:
    """Pair the answers of two files, and say on standard error which rows are left out.

    Raises:
        ValueError: they have no prompt in common.
    """
    pairing = pair_completions(read_responses(a), read_responses(b))
    if not pairing.pairs:
        raise ValueError(
            f"{a} and {b} have no prompt in common: expected answers to the same prompts"
        )
    for path, alone in ((a, pairing.only_a), (b, pairing.only_b)):
        if alone:
            why = "no such prompt, or fewer answers to it, in the other file"
            sys.stderr.write(printable(f"{path}: rows left out: {len(alone)} ({why})\n"))
    return pairing


def draw(pairs: Sequence[Pair], n: int | None, *, seed: int, by_subreddit: bool) -> list[Pair]:
    """Choose the pairs of ``n`` prompts, by a hash of seed and prompt: whoever chooses more has these among them.

    Args:
        pairs: to choose from.
        n: prompts; None, or as many as there are: all.
        seed: of the choice.
        by_subreddit: each subreddit gets its share of the n, as exactly as whole numbers can.
    """
    prompts = sorted({pair.prompt for pair in pairs}, key=lambda prompt: digest(str(seed), prompt))
    if n is None or n >= len(prompts):
        return list(pairs)
    chosen = set(_stratify(prompts, n) if by_subreddit else prompts[:n])
    return [pair for pair in pairs if pair.prompt in chosen]


def _stratify(prompts: Sequence[str], n: int) -> list[str]:
    """Take the first prompts of each subreddit; of the places left over, the largest remainders get one each."""
    strata: dict[str, list[str]] = defaultdict(list)
    for prompt in prompts:
        found = _SUBREDDIT.search(prompt)
        strata[found[1] if found else ""].append(prompt)
    exact = {name: n * len(group) / len(prompts) for name, group in strata.items()}
    places = {name: int(share) for name, share in exact.items()}
    by_remainder = sorted(strata, key=lambda name: (places[name] - exact[name], name))
    for name in by_remainder[: n - sum(places.values())]:
        places[name] += 1
    return [prompt for name, group in strata.items() for prompt in group[: places[name]]]
