"""Tokenizers, ready for RLHF: pad is never EOS, and every stage makes the same tokens of a prompt and its response."""

import logging
from collections.abc import Container, Sequence
from dataclasses import dataclass
from itertools import islice, takewhile
from operator import eq

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from lightning_marlhf.hub.end_tokens import end_tokens
from lightning_marlhf.hub.sources import TOKENIZER_FILES, SourceError, locate, reading

NEW_PAD = "<pad>"
UNUSED_TOKENS = (
    "<|finetune_right_pad_id|>",  # Llama 3.1 and later
    NEW_PAD,
    "[PAD]",
    "<|pad|>",
    "<|padding|>",  # Pythia, OLMo
    "<|fim_pad|>",  # Qwen 2.5
    "<|reserved_special_token_0|>",  # Llama 3
    "<unused0>",
    "[unused0]",
    "<|dummy_0|>",  # Phi
    "<|placeholder1|>",
)
"""Names of reserved tokens; the first available one replaces a missing pad token."""

Tokens = list[int]
_SPACES = ("▁", "Ġ")  # how sentencepiece and byte-level BPE write a leading space
_log = logging.getLogger(__name__)
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"  # how a part of a character is decoded
_SENTINEL = "\ue000"  # a character of private use: no tokenizer makes one token of it and of what follows


@dataclass(frozen=True)
class Pair:
    """One prompt with one response, its end included."""

    prompt: Tokens
    response: Tokens


def load_tokenizer(
    source: str, *, for_training: bool = True, for_generation: bool = True, pad_token: str | None = None
) -> PreTrainedTokenizerBase:
    """Load a tokenizer whose pad token differs from EOS.

    Args:
        source: A folder or a Hub id.
        for_training: False allows pad = EOS, since a mask marks the padding.
        for_generation: False needs no EOS: an encoder that only scores has none.
        pad_token: A token of the vocabulary that occurs in no text, or ``<pad>``, which is added if it is missing.
            None keeps the tokenizer's own, or uses the first of UNUSED_TOKENS if that is missing or is EOS.

    Raises:
        SourceError: if it cannot be loaded, has no EOS, or no token is fit to be its pad token.
    """
    folder = locate(source, files=TOKENIZER_FILES)
    with reading(source):
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    if not for_training and tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.convert_ids_to_tokens(0)
    if for_generation and tokenizer.eos_token_id is None:
        raise SourceError(f"The tokenizer of {source} has no EOS token, so responses cannot end: set its eos_token.")
    if for_training:
        _set_pad_token(source, tokenizer, pad_token)
    return tokenizer


def _set_pad_token(source: str, tokenizer: PreTrainedTokenizerBase, wanted: str | None) -> None:
    """Set a pad token that is neither EOS nor part of any text.

    Raises:
        SourceError: the one that is wanted is in use or unknown; or none is wanted, and none is found.
    """
    if wanted is None and tokenizer.pad_token_id not in (None, *end_tokens(tokenizer)):
        return
    unused = [name for name in (*UNUSED_TOKENS, tokenizer.unk_token) if _is_unused(tokenizer, name)]
    added = [str(token) for token in list(tokenizer.added_tokens_decoder.values())[:64]]
    fit = unused or [name for name in added if _is_unused(tokenizer, name)]
    advice = (
        f"set pad_token to one that occurs in no text{', such as ' if fit else ''}{', '.join(fit[:3])}, or to "
        f"{NEW_PAD}, which is added if it is missing"
    )
    if wanted is None and not unused:
        own = tokenizer.pad_token
        problem = "no pad token" if own is None else f"{own!r}, which ends responses, as pad token"
        raise SourceError(
            f"The tokenizer of {source} has {problem}, and no token of its vocabulary is known to be unused: a model "
            f"learns to end only where padding looks different; {advice}"
        )
    name = unused[0] if wanted is None else wanted
    known = name in tokenizer.get_vocab()
    if not _is_unused(tokenizer, name) and (known or name != NEW_PAD):
        state = "in use" if known else "no token"
        raise SourceError(f"pad_token: {name!r} is {state} in the tokenizer of {source}: {advice}")
    if tokenizer.add_special_tokens({"pad_token": name}):
        _log.warning(
            "%s: the pad token %s is new: the embeddings grow if they have no row to spare, and such a model cannot be "
            "sharded before it was trained or exported in one process",
            source,
            name,
        )


def _is_unused(tokenizer: PreTrainedTokenizerBase, name: str | None) -> bool:
    """Return whether a token is there, and no text, no template and no end of a response has it."""
    token = tokenizer.get_vocab().get(name)
    if name is None or token is None or token in (tokenizer.bos_token_id, *end_tokens(tokenizer)):
        return False
    if token == tokenizer.unk_token_id:  # it stands for unknown characters, unless all can be written as bytes
        return token not in _ids(tokenizer, [_SENTINEL])[0]
    added = token in tokenizer.added_tokens_decoder or name in UNUSED_TOKENS
    return added and name not in str(tokenizer.chat_template)


def encode_prompts(
    tokenizer: PreTrainedTokenizerBase, prompts: Sequence[str], *, special_tokens: bool = True
) -> list[Tokens]:
    """Tokenise prompts: with one BOS, if the tokenizer puts one, and no EOS, even if it puts one.

    Args:
        tokenizer: The model's tokenizer.
        prompts: Texts; one that begins with BOS as text, as rendered templates do, gets no other.
        special_tokens: False adds no BOS: the chat template has written all that belongs there.
    """
    before, _ = _added(tokenizer) if special_tokens else ([], [])
    return [_begin(ids, before) for ids in _ids(tokenizer, prompts)]


def encode_pairs(
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    responses: Sequence[str],
    *,
    ended: Sequence[bool] | None = None,
    joined: bool = False,
    special_tokens: bool = True,
) -> list[Pair]:
    """Tokenise prompts with their responses, as SFT and reward models learn them and as scorers read them.

    One EOS follows the response, unless it ends with EOS or the template's end of turn as text;
    an encoder's separator closes every row instead.

    Args:
        tokenizer: The model's tokenizer.
        prompts: As for `encode_prompts`.
        responses: One for each prompt.
        ended: False if a response was cut off, so that no EOS follows; None if all ended.
        joined: Tokenise prompt and response as one text, a token over their border being the response's; else apart.
        special_tokens: As for `encode_prompts`.
    """
    before, after = _added(tokenizer) if special_tokens else ([], [])
    separator = after if tokenizer.sep_token_id in after else []
    ends = end_tokens(tokenizer)
    names = tuple(tokenizer.convert_ids_to_tokens(ends))
    responses = [text.rstrip() if text.rstrip().endswith(names) else text for text in responses]
    if joined:
        split = _split_joined(tokenizer, prompts, responses)
    else:
        split = list(zip(_ids(tokenizer, prompts), _continuing_ids(tokenizer, responses), strict=True))
    pairs = []
    for row, (prompt, response) in enumerate(split):
        open_end = ended is not None and not ended[row]
        closed = bool(separator) or open_end or (bool(response) and response[-1] in ends)
        pairs.append(Pair(_begin(prompt, before), [*response, *([] if closed else ends[:1]), *separator]))
    return pairs


def decode_responses(
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Tokens],
    responses: Sequence[Tokens],
    *,
    skip_special_tokens: bool = True,
) -> list[str]:
    """Decode responses as continuations of their prompts.

    Llama 2's decoder removes the first space of every text, so a response is decoded behind the last character of its
    prompt. A space that the decoder itself puts between two words is none of the response's.
    """
    special = {i for i, token in tokenizer.added_tokens_decoder.items() if token.special}
    special.update(tokenizer.all_special_ids)
    lasts = [_last_character(tokenizer, prompt, special) for prompt in prompts]
    pairs = [[*last, *response] for last, response in zip(lasts, responses, strict=True)]
    behind, alone = (_decode(tokenizer, rows, skip_special_tokens) for rows in (pairs, responses))
    texts = []
    for last, response, text, by_itself in zip(_decode(tokenizer, lasts), responses, behind, alone, strict=True):
        continuation = text.removeprefix(last) if text.startswith(last) else by_itself
        if continuation == f" {by_itself}":
            first = next((token for token in response if token not in special), response[0])
            (written,) = _decode(tokenizer, [[first]])
            continuation = by_itself if tokenizer.convert_ids_to_tokens(first) == written else continuation
        texts.append(continuation)
    return texts


def _last_character(tokenizer: PreTrainedTokenizerBase, ids: Tokens, special: Container[int]) -> Tokens:
    """Take the last token that is not special, or as many as are bytes of one character."""
    visible = list(islice((token for token in reversed(ids) if token not in special), 4))[::-1]
    ends = [visible[-size:] for size in range(1, 5)]
    whole = (end for end, text in zip(ends, _decode(tokenizer, ends), strict=True) if _REPLACEMENT not in text)
    return next(whole, ends[0])


def _decode(tokenizer: PreTrainedTokenizerBase, rows: Sequence[Tokens], skip_special_tokens: bool = True) -> list[str]:
    if not rows:
        return []  # batch_decode makes one text of no rows
    return tokenizer.batch_decode(  # type: ignore[no-any-return]
        list(rows), skip_special_tokens=skip_special_tokens, clean_up_tokenization_spaces=False
    )


def _split_joined(
    tokenizer: PreTrainedTokenizerBase, prompts: Sequence[str], responses: Sequence[str]
) -> list[tuple[Tokens, Tokens]]:
    """Cut the tokens of prompt and response at the first token that reaches into the response.

    A tokenizer written in Python does not know where its tokens lie: there, the prompt's part is what it has in common
    with the prompt's own tokens.
    """
    texts = [prompt + response for prompt, response in zip(prompts, responses, strict=True)]
    if not tokenizer.is_fast:
        alone, wholes = _ids(tokenizer, prompts), _ids(tokenizer, texts)
        starts = [sum(takewhile(bool, map(eq, *pair))) for pair in zip(alone, wholes, strict=True)]
    else:
        batch = tokenizer(texts, add_special_tokens=False, return_offsets_mapping=True)
        wholes = batch.input_ids
        starts = [
            next((i for i, (_, end) in enumerate(offsets) if end > len(prompt)), len(offsets))
            for prompt, offsets in zip(prompts, batch.offset_mapping, strict=True)
        ]
    return [(ids[:start], ids[start:]) for ids, start in zip(wholes, starts, strict=True)]


def _ids(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[Tokens]:
    return tokenizer(list(texts), add_special_tokens=False).input_ids if texts else []


def _continuing_ids(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[Tokens]:
    """Tokenise continuations: without the space that Llama 2's tokenizer puts before every text."""
    first = tokenizer.convert_ids_to_tokens(_ids(tokenizer, ["x"])[0])[:1]
    if not first or not first[0].startswith(_SPACES):
        return _ids(tokenizer, texts)
    (before,) = _ids(tokenizer, [_SENTINEL])
    return [ids[len(before) :] for ids in _ids(tokenizer, [_SENTINEL + text for text in texts])]


def _added(tokenizer: PreTrainedTokenizerBase) -> tuple[Tokens, Tokens]:
    """Find the tokens that the tokenizer puts before and after every text."""
    (added,) = tokenizer([""]).input_ids
    text = "x"
    if not _ids(tokenizer, [text])[0]:  # it is not known: any token will do that is not added itself
        token = next(i for i in sorted(tokenizer.get_vocab().values()) if i not in added)
        text = tokenizer.convert_ids_to_tokens(token)
    (bare,), (whole,) = _ids(tokenizer, [text]), tokenizer([text]).input_ids
    starts = (at for at in range(len(whole)) if whole[at : at + len(bare)] == bare)
    start = next(starts, 0)
    return whole[:start], whole[start + len(bare) :]


def _begin(ids: Tokens, before: Tokens) -> Tokens:
    return ids if ids[: len(before)] == before else [*before, *ids]
