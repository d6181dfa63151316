"""WebGPT: long responses to questions, scored by people two at a time.

Source of the format: class OpenaiWebgptcomparisonsDataset of ernie-research/MA-RLHF @ 807551d,
applications/DeepSpeed-Chat/dschat/utils/data/raw_datasets.py.
"""

import math
import re
from collections.abc import Mapping
from typing import Literal

from lightning_marlhf.tasks.rows import PreferenceText, Row, fingerprint, require_prompt, text, value, wrong

HUB_ID = "openai/webgpt_comparisons"
HUB_ROWS: Mapping[str, int] = {"train": 19_578}
PROMPT_END = " Assistant:"

Brackets = Literal["citations", "all"]

_CITATION = re.compile(r" ?\[\d+(?:, ?\d+)*\]")
_BRACKETS = re.compile(r"[\(\[].*?[\)\]]")
_SPACE_AND_BRACKETS = re.compile(r" [\(\[].*?[\)\]]")


def preference(row: Row, *, brackets: Brackets = "citations") -> PreferenceText:
    """Read a comparison.

    Args:
        row: A row with ``question.full_text``, and ``answer_k`` and ``score_k`` for k in 0 and 1.
        brackets: Text to remove from responses: "citations" such as ``[1]`` or ``[2, 3]``, or "all" round and square
            brackets with what is in them, as released.

    Returns:
        The response of the higher score as chosen; of equal scores, a tie, the first, as released.
    """
    question = text(row, "question.full_text")
    require_prompt(question)
    scores = [_score(row, column) for column in ("score_0", "score_1")]
    responses = [f" {_clean(text(row, column), brackets)}" for column in ("answer_0", "answer_1")]
    better = 0 if scores[0] >= scores[1] else 1
    return PreferenceText(
        prompt=f" Human: {question}{PROMPT_END}",
        chosen=responses[better],
        rejected=responses[1 - better],
        group=fingerprint(question),
        tie=scores[0] == scores[1],
    )


def row_of(text: str) -> Row:
    """Make a stored row that holds nothing but ``text``, so that it is framed as the data's own rows are."""
    return {"question": {"full_text": text}, "answer_0": "", "answer_1": "", "score_0": 0, "score_1": 0}


def _score(row: Row, column: str) -> float:
    score = value(row, column)
    if isinstance(score, bool) or not isinstance(score, int | float) or not math.isfinite(score):
        raise wrong(column, "a number", score)
    return float(score)


def _clean(response: str, brackets: Brackets) -> str:
    """Remove brackets.

    >>> _clean("Cats (Felis catus) purr [1, 2].", "citations")
    'Cats (Felis catus) purr.'
    >>> _clean("Cats (Felis catus) purr [1, 2].", "all")
    'Cats purr.'
    """
    if brackets == "citations":
        return _CITATION.sub("", response)
    return _BRACKETS.sub("", _SPACE_AND_BRACKETS.sub("", response))
