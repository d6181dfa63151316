"""Pairs of responses to the same prompt: formed from two files of completions, and drawn for judging."""

import hashlib
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lightning_marlhf.display.text import printable
from lightning_marlhf.inference.completions import read_responses
from lightning_marlhf.records import Completion
from lightning_marlhf.tasks import dialogue
from lightning_marlhf.tasks.dialogue import Turn

_DIGITS = 16  # of hexadecimal digests: 64 bits
_SUBREDDIT = re.compile(r"^Subreddit: r/(\S+)", re.MULTILINE)

TokenIds = tuple[Sequence[int], Sequence[int]]
"""Token ids of a prompt and of the response to it."""


@dataclass(frozen=True)
class Pair:
    """Two responses to one prompt.

    Attributes:
        ids: For a and for b: the tokens of prompt and response, if they were kept.
    """

    pair_id: str  # names the prompt, and which of its responses these are; the same for any two models
    prompt: str  # the prompt as the models saw it
    a: str  # one response, without special tokens
    b: str  # the other response
    reference: object = None  # ground truth (facts, a human response), if any
    ended: tuple[bool, bool] = (True, True)  # for a and for b: False if the response was cut off at the limit of tokens
    messages: Sequence[Turn] | None = None  # the dialogue that a chat template rendered as the prompt; None: plain text
    ids: tuple[TokenIds | None, TokenIds | None] = (None, None)

    @property
    def fingerprint(self) -> str:
        """A digest of prompt, a and b."""
        return digest(self.prompt, self.a, self.b)


@dataclass(frozen=True)
class Pairing:
    """Pairs of two files, and the responses without a partner."""

    pairs: tuple[Pair, ...]  # in the order of a's file
    only_a: tuple[str, ...]  # ids of pairs whose response is in a's file alone
    only_b: tuple[str, ...]  # ids of pairs whose response is in b's file alone


def read_pairs(a: Path, b: Path) -> Pairing:
    """Pair the responses of two files, and print on stderr which rows are left out.

    Raises:
        ValueError: They have no prompt in common.
    """
    pairing = pair_completions(read_responses(a), read_responses(b))
    if not pairing.pairs:
        raise ValueError(f"{a} and {b} have no prompt in common: expected responses to the same prompts")
    for path, alone in ((a, pairing.only_a), (b, pairing.only_b)):
        if alone:
            why = "no such prompt, or fewer responses to it, in the other file"
            sys.stderr.write(printable(f"{path}: rows left out: {len(alone)} ({why})\n"))
    return pairing


def pair_completions(a: Sequence[Completion], b: Sequence[Completion]) -> Pairing:
    """Pair the k-th response to a prompt in ``a`` with the k-th response to the same prompt in ``b``.

    Prompts are the same if their texts are equal, whatever the sample ids, which differ between programs.
    Dialogues are the same if their messages are equal, whatever template rendered each model's prompt.
    """
    first, second = dict(_by_pair_id(a)), dict(_by_pair_id(b))
    pairs = tuple(
        Pair(
            pair_id,
            row.prompt,
            row.response,
            second[pair_id].response,
            reference=row.reference,
            ended=(row.ended, second[pair_id].ended),
            messages=row.messages,
            ids=(kept_ids(row), kept_ids(second[pair_id])),
        )
        for pair_id, row in first.items()
        if pair_id in second
    )
    return Pairing(
        pairs=pairs,
        only_a=tuple(pair_id for pair_id in first if pair_id not in second),
        only_b=tuple(pair_id for pair_id in second if pair_id not in first),
    )


def draw(pairs: Sequence[Pair], n: int | None, *, seed: int, by_subreddit: bool) -> list[Pair]:
    """Draw the pairs of ``n`` prompts by a hash of seed and prompt: a larger draw contains the smaller one.

    Args:
        pairs: Pairs to draw from.
        n: Number of prompts; None, or at least as many as there are: all.
        seed: Seed of the draw.
        by_subreddit: Each subreddit gets its proportion of the n, by largest remainders.
    """
    prompts = sorted({pair.prompt for pair in pairs}, key=lambda prompt: digest(str(seed), prompt))
    if n is None or n >= len(prompts):
        return list(pairs)
    chosen = set(_stratify(prompts, n) if by_subreddit else prompts[:n])
    return [pair for pair in pairs if pair.prompt in chosen]


def _stratify(prompts: Sequence[str], n: int) -> list[str]:
    """Take the first prompts of each subreddit; largest remainders get the rest, one each."""
    strata: dict[str, list[str]] = defaultdict(list)
    for prompt in prompts:
        found = _SUBREDDIT.search(prompt)
        strata[found[1] if found else ""].append(prompt)
    exact = {name: n * len(group) / len(prompts) for name, group in strata.items()}
    quotas = {name: int(quota) for name, quota in exact.items()}
    by_remainder = sorted(strata, key=lambda name: (quotas[name] - exact[name], name))
    for name in by_remainder[: n - sum(quotas.values())]:
        quotas[name] += 1
    return [prompt for name, group in strata.items() for prompt in group[: quotas[name]]]


def plain_prompt(row: Completion | Pair) -> str:
    """Return a prompt without the markup of a chat template, as annotators and language models read it."""
    return row.prompt if row.messages is None else dialogue.to_plain(row.messages)


def kept_ids(row: Completion) -> TokenIds | None:
    """Return the tokens of a completion's prompt and response; None if they were not kept."""
    if row.prompt_ids is None or row.response_ids is None:
        return None
    return row.prompt_ids, row.response_ids


def digest(*texts: str) -> str:
    """Return a short hash of texts in their order."""
    sha = hashlib.sha256()
    for text in texts:
        content = text.encode("utf-8", "surrogatepass")
        sha.update(len(content).to_bytes(8, "big") + content)
    return sha.hexdigest()[:_DIGITS]


def _by_pair_id(rows: Sequence[Completion]) -> Iterator[tuple[str, Completion]]:
    """Name each row by its prompt and its number among that prompt's responses, from 0."""
    seen: Counter[str] = Counter()
    for row in rows:
        prompt = plain_prompt(row)
        yield f"{digest(prompt)}-{seen[prompt]}", row
        seen[prompt] += 1
