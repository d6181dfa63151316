"""Where in the text of a response each of its tokens ends: from the sampled ids, never by tokenising the text again."""

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

from lightning_marlhf.hub.tokenizer import decode_responses
from lightning_marlhf.rollout.generation import unpadded
from lightning_marlhf.types import Rollout


def token_ends(rollout: Rollout, tokenizer: PreTrainedTokenizerBase) -> list[list[int]]:
    """Count the characters of each row's text up to the end of each response token, EOS left out.

    A token's trailing white space is not counted unless it has nothing else, so that ". " ends with its full stop and a
    token of blanks alone goes with what follows it. The tokens of one character (bytes of an emoji) all end with it.
    """
    rows = unpadded(rollout.response_ids, rollout.response_mask)
    prompts = unpadded(rollout.prompts.input_ids, rollout.prompts.attention_mask)
    distinct = sorted({token for row in rows for token in row})
    alone = decode_responses(tokenizer, [[]] * len(distinct), [[token] for token in distinct])
    pieces = dict(zip(distinct, alone, strict=True))
    ends = []
    for prompt, ids, text, ended in zip(prompts, rows, rollout.texts, rollout.ended.tolist(), strict=True):
        row = ids[:-1] if ended and not _is_written(pieces[ids[-1]], text) else ids
        ends.append(ends_of_pieces(_split(prompt, row, text, [pieces[token] for token in row], tokenizer)))
    return ends


def _is_written(piece: str, text: str) -> bool:
    """Return whether the last token is part of the text: true of a stop string's, not of EOS."""
    return piece != "" and text.endswith(piece)


def ends_of_pieces(pieces: Sequence[str]) -> list[int]:
    """Count the characters up to the end of each piece of a text, trailing white space as above.

    >>> ends_of_pieces(["No. ", "Yes", "  ", "sir"])
    [3, 7, 9, 12]
    """
    ends, start = [], 0
    for piece in pieces:
        ends.append(start + (len(piece.rstrip()) or len(piece)))
        start += len(piece)
    return ends


def _split(
    prompt: list[int], ids: list[int], text: str, pieces: list[str], tokenizer: PreTrainedTokenizerBase
) -> list[str]:
    """Return the part of ``text`` of each token: its decoded text where the concatenation equals ``text``.

    Where they do not (a character of several tokens, a tokenizer that drops or adds blanks), it is what the token adds
    to the text of those before it, less what a later token replaces (U+FFFD for an incomplete character).
    """
    if "".join(pieces) == text:
        return pieces
    beginnings = [ids[: count + 1] for count in range(len(ids))]
    texts = decode_responses(tokenizer, [prompt] * len(ids), beginnings)
    ends = [len(beginning) for beginning in texts]
    for token in reversed(range(len(ends) - 1)):
        ends[token] = min(ends[token], ends[token + 1])
    return [text[start:end] for start, end in zip([0, *ends], ends, strict=False)]
