"""Tokenizers, ready for RLHF: pad is never EOS."""

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from lightning_marlhf.hub.sources import TOKENIZER_FILES, SourceError, locate, reading


def load_tokenizer(
    source: str, *, for_training: bool = True, for_answers: bool = True
) -> PreTrainedTokenizerBase:
    """Load a tokenizer that can tell padding from the end of a response.

    Args:
        source: a folder or a Hub id.
        for_training: False lets padding look like EOS: a mask says what is padding, and nothing is learnt from it.
        for_answers: False needs no EOS: an encoder that only scores has none.

    Raises:
        SourceError: if it cannot be loaded, or its pad token is missing or is EOS.
    """
    folder = locate(source, files=TOKENIZER_FILES)
    with reading(source):
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    if not for_training and tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.convert_ids_to_tokens(0)
    if for_answers:
        _check_special_tokens(source, tokenizer, for_training=for_training)
    return tokenizer


def _check_special_tokens(
    source: str, tokenizer: PreTrainedTokenizerBase, *, for_training: bool
) -> None:
    if tokenizer.eos_token_id is None:
        raise SourceError(
            f"The tokenizer of {source} has no EOS token, so responses cannot end: "
            "set its eos_token."
        )
    if not for_training:
        return
    if tokenizer.pad_token_id is None or tokenizer.pad_token_id == tokenizer.eos_token_id:
        problem = (
            "no pad token"
            if tokenizer.pad_token_id is None
            else f"its EOS {tokenizer.eos_token!r} as pad token"
        )
        raise SourceError(
            f"The tokenizer of {source} has {problem}; a pad token of its own is needed, or the "
            "model never learns to end. Fix: tokenizer.add_special_tokens({'pad_token': '<pad>'}); "
            "tokenizer.save_pretrained('my-tokenizer'); then give my-tokenizer as tokenizer (the "
            "embeddings grow when the model is loaded)."
        )
