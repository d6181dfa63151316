"""Vocabularies: which ids are tokens, and whether two tokenizers mean the same by them.

A model's embeddings may have more rows than its tokenizer has tokens: published ones are padded to a multiple of 64.
"""

from transformers import PreTrainedTokenizerBase


def rows_needed(tokenizer: PreTrainedTokenizerBase) -> int:
    """Count the rows of embeddings that hold every token; ids may have gaps, which need rows, too."""
    return 1 + max(tokenizer.get_vocab().values())  # type: ignore[no-any-return]


def ids_without_token(tokenizer: PreTrainedTokenizerBase, rows: int) -> list[int]:
    """List the ids below ``rows`` that are no token."""
    return sorted(set(range(rows)) - set(tokenizer.get_vocab().values()))


def difference(one: PreTrainedTokenizerBase, other: PreTrainedTokenizerBase) -> str | None:
    """Find an id that is one token here and another there; None where all ids that both have agree.

    Tokens that only one of them has, at ids that the other does not use, are no difference: a pad token that was added.

    Returns:
        "'<pad>' has id 0 here and 7 there" or "id 5 is 'a' here and 'b' there".
    """
    here, there = one.get_vocab(), other.get_vocab()
    names = {index: name for name, index in there.items()}
    for name, index in sorted(here.items() - there.items(), key=lambda item: item[1]):
        if name in there:
            return f"{name!r} has id {index} here and {there[name]} there"
        if index in names:
            return f"id {index} is {name!r} here and {names[index]!r} there"
    return None
