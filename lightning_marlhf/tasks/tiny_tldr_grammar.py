"""The grammar of tiny TL;DR: constituency trees of the sentences that its generator writes, and of those like them.

Each of the generator's sentences has exactly one tree (a test holds that): no parser has to guess.
"""

import re
from collections.abc import Iterable
from functools import cache, lru_cache

from nltk.grammar import CFG
from nltk.parse.chart import ChartParser
from nltk.tree import Tree

from lightning_marlhf.tasks.tiny_tldr import FACTS

_SENTENCE = re.compile(r"[^.?]*[.?]|[^.?]+")
_PHRASES = """
    S -> NP VP | NP VP PP | PP NP VP | ADVP NP VP | NP | VP | PP | SQ
    SQ -> MD NP VP | AUX NP ADJP
    NP -> PRP | NN | NNP | DT NN | DT NNS | PRPS NN | NNP NN | JJ NN | DT NN RB
    VP -> VB | VBD | VBD NP | VBD ADJP | VBD PRT | VBP ADJP | VBZ NP ADJP | TO VP
    PP -> IN NP
    ADJP -> JJ | JJS VP
    ADVP -> RB
    PRT -> RP
"""
_WORDS = {
    "PRP": "i it we me",
    "PRPS": "my",
    "DT": "the a no",
    "NN": "car cake window money mail rice lie night year lot bus soup dog tv one hat " + " ".join(FACTS["who"]),
    "NNS": "keys",
    "NNP": "monday tuesday friday sunday easter",
    "JJ": "new late " + " ".join(FACTS["feel"]),
    "JJS": "best",
    "RB": "now else",
    "RP": "on",
    "IN": "on",
    "TO": "to",
    "MD": "should do",
    "AUX": "is",
    "VB": " ".join(FACTS["ask"]),
    "VBP": "feel am",
    "VBZ": "makes",
    "VBD": "lost sold ate broke hid read burned told rained was had slept knew wore",
}


def parse(text: str) -> list[tuple[int, Tree]]:
    """Parse the sentences of a text; a last one without its mark is one too.

    Returns:
        Of each sentence the characters before it, and its tree.

    Raises:
        ValueError: a sentence is not of the grammar.

    >>> [(start, str(tree)) for start, tree in parse("my boss. leave")]
    [(0, '(S (NP (PRPS my) (NN boss)) (. .))'), (8, '(S (VP (VB leave)))')]
    """
    found = ((match.start(), match.group().strip()) for match in _SENTENCE.finditer(text))
    return [(start, _tree(sentence)) for start, sentence in found if sentence]


def trees(words: Iterable[str]) -> list[Tree]:
    """List every tree of a clause."""
    return list(_chart_parser().parse(list(words)))


@lru_cache(maxsize=10_000)
def _tree(sentence: str) -> Tree:
    clause = sentence.rstrip(".?")
    found = trees(clause.split())
    if not found:
        raise ValueError(f"not a sentence of tiny TL;DR: {sentence!r}")
    mark = sentence[len(clause) :]
    return Tree("S", [*found[0], *([Tree(".", [mark])] if mark else [])])


@cache
def _chart_parser() -> ChartParser:
    words = [f"{kind} -> {' | '.join(map(repr, words.split()))}" for kind, words in _WORDS.items()]
    return ChartParser(CFG.fromstring("\n".join([_PHRASES, *words])))
