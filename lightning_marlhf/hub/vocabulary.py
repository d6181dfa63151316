"""Vocabularies: which ids are tokens, and whether two tokenizers mean the same by them.

A model's embeddings may have more rows than its tokenizer has tokens: published ones are padded to a multiple of 64.
"""

import hashlib
import json

from transformers import PreTrainedTokenizerBase


def rows_needed(tokenizer: PreTrainedTokenizerBase) -> int:
    """Count the rows of embeddings that hold every token; ids may have gaps, which need rows, too."""
    return 1 + max(tokenizer.get_vocab().values())  # type: ignore[no-any-return]


def ids_without_token(tokenizer: PreTrainedTokenizerBase, rows: int) -> list[int]:
    """List the ids below ``rows`` that are no token."""
    return sorted(set(range(rows)) - set(tokenizer.get_vocab().values()))


def difference(one: PreTrainedTokenizerBase, other: PreTrainedTokenizerBase) -> str | None:
    """Find a token that is not the same in both; None if they agree.

    Tokens that were added to only one of them (for padding, for turns), at ids that the other does not use, are no
    difference.

    Returns:
        "'<pad>' has id 0 here and 7 there", "id 5 is 'a' here and 'b' there" or "'c' with id 9 is there alone".
    """
    here, there = one.get_vocab(), other.get_vocab()
    names_here, names_there = ({i: name for name, i in each.items()} for each in (here, there))
    for index, name in sorted((i, name) for name, i in here.items() ^ there.items()):
        if name in here and name in there:
            return f"{name!r} has id {here[name]} here and {there[name]} there"
        if index in names_here and index in names_there:
            return f"id {index} is {names_here[index]!r} here and {names_there[index]!r} there"
        owner, where = (one, "here") if name in here else (other, "there")
        if index not in owner.added_tokens_decoder:
            return f"{name!r} with id {index} is {where} alone"
    return None


def fingerprint(tokenizer: PreTrainedTokenizerBase) -> str:
    """Hash a tokenizer by its behaviour: every rule and token, not its folder name."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    entries = json.dumps([type(tokenizer).__name__, tokenizer.get_vocab()], sort_keys=True)
    rules = backend.to_str() if backend else entries
    special = (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id)
    template = getattr(tokenizer, "chat_template", None)
    return hashlib.sha256(f"{rules}{special}{template}".encode()).hexdigest()
