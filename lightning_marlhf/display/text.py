"""Untrusted strings as text that people can read."""

import unicodedata

# Format characters that could reorder or hide the text around them, and control characters.
_UNSAFE_CATEGORIES = {"Cc", "Cf", "Cs"}


def printable(text: str) -> str:
    """Return ``text`` with control, invisible and unpaired surrogate characters replaced.

    Line breaks and tabs stay.
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return "".join(
        c if c in "\n\t" or unicodedata.category(c) not in _UNSAFE_CATEGORIES else "\ufffd"
        for c in text
    )
