"""Tokenizers that need no download, for tasks that the package generates itself."""

import re
from collections.abc import Iterable

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

_PAD, _EOS, _BOS, _UNKNOWN = "<pad>", "<eos>", "<bos>", "<unk>"


def character_tokenizer(alphabet: str) -> PreTrainedTokenizerFast:
    """Build a tokenizer with one token per character of ``alphabet``; others become ``<unk>``."""
    every_character = pre_tokenizers.Split(Regex(r"[\s\S]"), behavior="isolated")
    return _tokenizer(alphabet, every_character, decoders.Fuse())


def word_tokenizer(words: Iterable[str]) -> PreTrainedTokenizerFast:
    """Build a tokenizer with one token per word or punctuation mark; others become ``<unk>``."""
    return _tokenizer(words, pre_tokenizers.Whitespace(), decoders.WordPiece())


def piece_tokenizer(pieces: Iterable[str], alphabet: str) -> PreTrainedTokenizerFast:
    """Build a tokenizer with one token per piece, the longest that fits, and per other character of ``alphabet``."""
    longest_first = sorted(pieces, key=len, reverse=True)
    piece = pre_tokenizers.Split(Regex("|".join([*map(re.escape, longest_first), r"[\s\S]"])), behavior="isolated")
    return _tokenizer([*longest_first, *alphabet], piece, decoders.Fuse())


def _tokenizer(
    entries: Iterable[str], split: pre_tokenizers.PreTokenizer, decoder: decoders.Decoder
) -> PreTrainedTokenizerFast:
    names = [_PAD, _EOS, _BOS, _UNKNOWN, *entries]
    vocabulary = {name: index for index, name in enumerate(names)}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token=_UNKNOWN))
    backend.pre_tokenizer = split
    backend.decoder = decoder
    backend.post_processor = processors.TemplateProcessing(
        single=f"{_BOS} $A", special_tokens=[(_BOS, vocabulary[_BOS])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token=_PAD,
        eos_token=_EOS,
        bos_token=_BOS,
        unk_token=_UNKNOWN,
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )
