"""What a language model is asked: versioned text files, filled with a prompt and two answers."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lightning_marlhf.evaluation.pairs import digest

FILES: Mapping[str, str] = {
    "tldr": "tldr_v1",
    "hh_rlhf": "hh_v1",
    "webgpt": "webgpt_v1",
    "general": "general_v1",
}
"""By task; a file that changes gets a new name, since verdicts of both cannot be compared."""

_FOLDER = Path(__file__).parent / "prompts"
_PLACE = re.compile(r"\{\{(mark|prompt|first|second)\}\}")


@dataclass(frozen=True)
class Instructions:
    """The text with its places still empty.

    Attributes:
        version: the file's name and a hash of its content, as records hold it.
        text: with ``{{mark}}``, ``{{prompt}}``, ``{{first}}`` and ``{{second}}``.
    """

    version: str
    text: str

    def fill(self, prompt: str, first: str, second: str) -> str:
        """Put a prompt and two answers in, in one pass, so that nothing in them is taken for a place.

        The mark around them is a hash of all three: an answer that knows it, and could so end its own part, cannot be
        written.
        """
        texts = {"prompt": prompt.strip(), "first": first.strip(), "second": second.strip()}
        texts["mark"] = digest(self.version, prompt, first, second)
        return _PLACE.sub(lambda place: texts[place[1]], self.text)


def load(task: str) -> Instructions:
    """Read the instructions of a task."""
    name = FILES[task]
    text = (_FOLDER / f"{name}.txt").read_text(encoding="utf-8")
    return Instructions(f"{name}@{digest(text)}", text)
