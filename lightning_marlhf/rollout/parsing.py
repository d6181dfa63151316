"""From a text to the tokens at which its phrases start: constituency trees, and how they are cut.

The paper's rule (sec. 3.1): walk each sentence's tree depth-first; a node of fewer policy tokens than the cutoff is one
macro action; a node of a single token joins the macro action before it. Worked out from the outputs of the released
code (tests/reference/released_parsing.json), two rules are not in the paper: a node over a single
*word* joins too, however many tokens it has; and the first node of a sentence has nothing to join, so that
every sentence starts a macro action.

Nothing here needs torch: this is what a worker process imports (see `parser_pool.py`).
"""

from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nltk.tree import Tree

_INSTALL = "pip install 'lightning_marlhf[parsing]'"


class NoTreeError(ValueError):
    """A text has no tree."""


@dataclass(frozen=True)
class Sentence:
    """A sentence's tree, and the character offsets of its leaves."""

    tree: "Tree"
    leaf_ends: tuple[int, ...]  # characters of the whole text up to the end of each leaf


class Parser(ABC):
    """Gives the constituency trees of a text. To add one, subclass it and implement `__call__`."""

    def prepare(self) -> None:  # noqa: B027
        """Load what is needed, before the first text; in the process that parses.

        Raises:
            ValueError: a package or model is absent; says how to get it.
        """

    @abstractmethod
    def __call__(self, text: str) -> Sequence[Sentence]:
        """Parse ``text`` into sentences, in their order.

        Raises:
            NoTreeError: it cannot be parsed.
        """

    def __repr__(self) -> str:
        """Name the parser."""
        return type(self).__name__


class Stanza(Parser):
    """The constituency parser of Stanza, on the CPU.

    Args:
        model_dir: folder of Stanza's models, read without network; null takes Stanza's own folder, and downloads
            there what is missing.
        language: Language of the responses.
    """

    def __init__(self, model_dir: str | None = None, language: str = "en") -> None:
        self.model_dir = model_dir
        self.language = language

    def prepare(self) -> None:
        """Load the pipeline from sentences to trees."""
        try:
            import nltk  # noqa: F401
            import stanza
        except ModuleNotFoundError as error:
            raise ValueError(f"Stanza: no package {error.name!r} here; run: {_INSTALL}") from None
        folder = {} if self.model_dir is None else {"dir": self.model_dir}
        try:
            self._pipeline = stanza.Pipeline(
                self.language,
                processors="tokenize,pos,constituency",
                download_method="reuse_resources" if self.model_dir is None else None,
                use_gpu=False,
                verbose=False,
                **folder,
            )
        except (OSError, ValueError) as error:
            raise ValueError(
                f"Stanza: no models for {self.language!r} ({type(error).__name__}): with a network run "
                f"python -c \"import stanza; stanza.download('{self.language}', model_dir='FOLDER')\", and set "
                "parser.init_args.model_dir to FOLDER"
            ) from error

    def __call__(self, text: str) -> Sequence[Sentence]:
        """Split ``text`` into sentences and parse them."""
        return [
            place(_as_nltk(sentence.constituency), text, start=sentence.tokens[0].start_char)
            for sentence in self._pipeline(text).sentences
        ]


class TinyTLDRGrammar(Parser):
    """Exact trees of tiny TL;DR's sentences, from the grammar of its generator; no download."""

    def prepare(self) -> None:
        """Import the grammar, which needs nltk."""
        try:
            from lightning_marlhf.tasks import tiny_tldr_grammar
        except ModuleNotFoundError as error:
            raise ValueError(f"TinyTLDRGrammar: no package {error.name!r} here; run: {_INSTALL}") from None
        self._grammar = tiny_tldr_grammar

    def __call__(self, text: str) -> Sequence[Sentence]:
        """Parse every sentence of ``text``."""
        try:
            found = self._grammar.parse(text)
        except ValueError as error:
            raise NoTreeError(str(error)) from None
        return [place(tree, text, start=start) for start, tree in found]


def place(tree: "Tree", text: str, *, start: int) -> Sentence:
    """Locate the leaves of a sentence's tree in the text; only white space may separate them.

    Args:
        tree: Tree of one sentence.
        text: the whole text.
        start: characters before the sentence.

    Raises:
        NoTreeError: the leaves do not match the text.
    """
    ends = []
    for leaf in tree.leaves():
        while text[start : start + 1].isspace():
            start += 1
        if not text.startswith(leaf, start):
            raise NoTreeError(f"expected the word {leaf!r} at character {start} of {text!r}")
        start += len(leaf)
        ends.append(start)
    return Sentence(tree, tuple(ends))


def phrase_starts(sentences: Sequence[Sentence], token_ends: Sequence[int], *, cutoff: int) -> list[int]:
    """Find the tokens at which macro actions start.

    A token belongs to the leaf in which it ends, so to the later one of two that it straddles.

    Args:
        sentences: Sentences of one text.
        token_ends: characters of the text up to the end of each policy token (see `termination.token_ends`).
        cutoff: a phrase of fewer tokens is one macro action.

    Returns:
        Their numbers, rising, each once.
    """
    leaf_ends = [end for sentence in sentences for end in sentence.leaf_ends]
    bounds = [0, *(bisect_right(token_ends, end) for end in leaf_ends)]  # tokens before each leaf
    starts: set[int] = set()
    leaf = 0
    for sentence in sentences:
        starts.add(bounds[leaf])
        starts.update(_phrases(sentence.tree, leaf, bounds, cutoff))
        leaf += len(sentence.leaf_ends)
    return sorted(starts)


def _phrases(node: "Tree | str", leaf: int, bounds: Sequence[int], cutoff: int) -> Iterator[int]:
    """Yield the first token of each phrase of ``node``, whose first leaf is number ``leaf``."""
    leaves = 1 if isinstance(node, str) else len(node.leaves())
    tokens = bounds[leaf + leaves] - bounds[leaf]
    if isinstance(node, str) or leaves == 1 or tokens <= 1:
        return  # joins the previous macro action
    if tokens < cutoff:
        yield bounds[leaf]
        return
    for child in node:
        yield from _phrases(child, leaf, bounds, cutoff)
        leaf += 1 if isinstance(child, str) else len(child.leaves())


def _as_nltk(tree: Any) -> "Tree | str":
    """Turn a tree of Stanza into one of nltk."""
    from nltk.tree import Tree

    if not tree.children:
        return str(tree.label)
    return Tree(tree.label, [_as_nltk(child) for child in tree.children])
