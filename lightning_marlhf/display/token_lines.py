"""Lay the tokens of a response out in lines, in a font of equally wide characters."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from matplotlib import font_manager
from matplotlib.ft2font import FT2Font

FONT = "DejaVu Sans Mono"
_VISIBLE = {"\n": "↵", "\t": "→"}
_UNKNOWN = "□"
_LINE_UNITS = 46  # characters in a line of the picture
_MAX_LINES = 5


@dataclass(frozen=True)
class Placed:
    """One token in the picture."""

    position: int  # index in the response
    text: str
    left: float  # in characters from the line's start
    width: float


def place_tokens(tokens: Sequence[str]) -> list[list[Placed]]:
    """Lay the tokens out in as few lines as they need, about equally long; what does not fit is left out.

    Args:
        tokens: pieces of text, of one character or more.

    Returns:
        The lines; each token is as wide as its text has characters.
    """
    texts = [_shown(token) for token in tokens]
    fewest = len(_fill_lines(texts, _LINE_UNITS))
    fillings = (_fill_lines(texts, limit) for limit in range(1, _LINE_UNITS + 1))
    return next(lines for lines in fillings if len(lines) == fewest)[:_MAX_LINES]


def _fill_lines(texts: Sequence[str], limit: int) -> list[list[Placed]]:
    """Begin a line where the next token would make it longer than ``limit`` characters."""
    lines: list[list[Placed]] = [[]]
    left = 0
    for position, text in enumerate(texts):
        if lines[-1] and left + len(text) > limit:
            lines.append([])
            left = 0
        lines[-1].append(Placed(position, text, left, len(text)))
        left += len(text)
    return lines


def _shown(token: str) -> str:
    """Return a token as the picture's font can draw it, never empty and never wider than a line."""
    characters = _drawable_characters()
    text = "".join(_VISIBLE.get(c, c if ord(c) in characters else _UNKNOWN) for c in token)
    return text[:_LINE_UNITS] or _UNKNOWN


@cache
def _drawable_characters() -> frozenset[int]:
    path = font_manager.findfont(font_manager.FontProperties(family=FONT))
    return frozenset(FT2Font(path).get_charmap())
