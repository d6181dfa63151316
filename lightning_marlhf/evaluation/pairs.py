"""Two files of completions -> pairs of answers to the same prompt."""

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lightning_marlhf.records import Completion
from lightning_marlhf.tasks import dialogue
from lightning_marlhf.tasks.dialogue import Turn

_DIGITS = 16  # of hexadecimal digests: 64 bits


TokenIds = tuple[Sequence[int], Sequence[int]]
"""Of a prompt and of the answer to it."""


@dataclass(frozen=True)
class Pair:
    """Two answers to one prompt.

    Attributes:
        pair_id: of the prompt, and which of its answers these are; the same for any two models.
        prompt: as the models saw it.
        a: an answer, without special tokens.
        b: the other one.
        reference: what the task holds as truth (facts, a human answer), where there is one.
        ended: of a and of b: False where it was cut off at the limit of tokens.
        messages: what a chat template wrote as the prompt; None: plain text.
        ids: of a and of b: the tokens of prompt and answer, where they were kept.
    """

    pair_id: str
    prompt: str
    a: str
    b: str
    reference: object = None
    ended: tuple[bool, bool] = (True, True)
    messages: Sequence[Turn] | None = None
    ids: tuple[TokenIds | None, TokenIds | None] = (None, None)

    @property
    def asked(self) -> str:
        """The prompt as people and language models read it, without the marks of a chat template."""
        return self.prompt if self.messages is None else dialogue.to_plain(self.messages)

    @property
    def fingerprint(self) -> str:
        """A digest of prompt, a and b."""
        return digest(self.prompt, self.a, self.b)


@dataclass(frozen=True)
class Pairing:
    """The pairs, and what found no partner.

    Attributes:
        pairs: in the order of a's file.
        only_a: prompts' ids whose answer is in a's file alone.
        only_b: those in b's file alone.
    """

    pairs: tuple[Pair, ...]
    only_a: tuple[str, ...]
    only_b: tuple[str, ...]


def pair_completions(a: Sequence[Completion], b: Sequence[Completion]) -> Pairing:
    """Pair the k-th answer to a prompt in ``a`` with the k-th answer to the same prompt in ``b``.

    Prompts are the same where their texts are, whatever the sample ids: files of other programs have others. Dialogues
    are the same where their messages are, whatever template each model was asked in.
    """
    first, second = dict(_by_prompt(a)), dict(_by_prompt(b))
    pairs = tuple(_pair(key, row, second[key]) for key, row in first.items() if key in second)
    return Pairing(
        pairs=pairs,
        only_a=tuple(key for key in first if key not in second),
        only_b=tuple(key for key in second if key not in first),
    )


def _pair(pair_id: str, a: Completion, b: Completion) -> Pair:
    return Pair(
        pair_id,
        a.prompt,
        a.response,
        b.response,
        reference=a.reference,
        ended=(a.ended, b.ended),
        messages=a.messages,
        ids=(kept_ids(a), kept_ids(b)),
    )


def asked(row: Completion) -> str:
    """Give what a completion answers: its prompt, without the marks of a chat template."""
    return row.prompt if row.messages is None else dialogue.to_plain(row.messages)


def kept_ids(row: Completion) -> TokenIds | None:
    """Give the tokens of a completion's prompt and response; None where they were not kept."""
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


def _by_prompt(rows: Sequence[Completion]) -> Iterator[tuple[str, Completion]]:
    """Name each row by its prompt and its number among that prompt's answers, from 0."""
    seen: Counter[str] = Counter()
    for row in rows:
        prompt = asked(row)
        yield f"{digest(prompt)}-{seen[prompt]}", row
        seen[prompt] += 1
