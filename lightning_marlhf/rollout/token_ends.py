"""Where in the text of a response each of its tokens ends: from the sampled ids, never by tokenising the text again."""

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

from lightning_marlhf.types import Rollout


def token_ends(rollout: Rollout, tokenizer: PreTrainedTokenizerBase) -> list[list[int]]:
    """Count the characters of each row's text up to the end of each response token, EOS left out.

    A token's trailing white space is not counted unless it has nothing else, so that ". " ends with its full stop and a
    token of blanks alone goes with what follows it. The tokens of one character (bytes of an emoji) all end with it.
    """
    lengths = rollout.response_mask.sum(dim=1) - rollout.ended.long()
    rows = [
        ids[:length]
        for ids, length in zip(rollout.response_ids.tolist(), lengths.tolist(), strict=True)
    ]
    distinct = sorted({token for row in rows for token in row})
    pieces = dict(zip(distinct, _decode([[token] for token in distinct], tokenizer), strict=True))
    return [
        ends_of_pieces(_split(row, text, [pieces[token] for token in row], tokenizer))
        for row, text in zip(rows, rollout.texts, strict=True)
    ]


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
    ids: list[int], text: str, pieces: list[str], tokenizer: PreTrainedTokenizerBase
) -> list[str]:
    """Give the part of ``text`` that each token wrote: its own text where those join to the whole.

    Where they do not (a character of several tokens, a tokenizer that drops or adds blanks), it is what the token adds
    to the text of those before it, less what a later token takes back (the marks that stand for half a character).
    """
    if "".join(pieces) == text:
        return pieces
    beginnings = [ids[: count + 1] for count in range(len(ids))]
    ends = [len(beginning) for beginning in _decode(beginnings, tokenizer)]
    for token in reversed(range(len(ends) - 1)):
        ends[token] = min(ends[token], ends[token + 1])
    return [text[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def _decode(rows: list[list[int]], tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """Decode as the texts of a rollout are decoded."""
    if not rows:
        return []  # batch_decode makes one text of no rows
    texts: list[str] = tokenizer.batch_decode(
        rows, skip_special_tokens=True, clean_up_tokenization_spaces=False
    )
    return texts
