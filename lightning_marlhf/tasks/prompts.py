"""The prompt formats of the data sets, for texts that people type and for stored rows."""

from collections.abc import Callable
from typing import Any

from lightning_marlhf.tasks import apps, dialogue, hh_rlhf, tldr, webgpt
from lightning_marlhf.tasks.rows import Row

READERS: dict[str, Callable[[Row], str]] = {
    "hh_rlhf": lambda row: hh_rlhf.preference(row).prompt,
    "tldr": lambda row: tldr.preference(row).prompt,
    "webgpt": lambda row: webgpt.preference(row).prompt,
    "apps": lambda row: apps.problem(row).prompt,
}
"""The prompt of a row as the Hub has it, by data set; raises `MalformedRow` or `UnusableRow`."""

REFERENCES: dict[str, Callable[[Row], Any]] = {"apps": apps.reference}
"""What a judge or a test needs of such a row; of the other data sets nothing."""

_ENDS = {
    "hh_rlhf": dialogue.ASSISTANT,
    "tldr": "\nTL;DR: ",
    "webgpt": " Assistant:",
    "apps": "\nANSWER:\n",
}


def frame(text: str, data: str) -> str:
    r"""Write ``text`` as a prompt of a data set; a text that ends as its prompts do is one already.

    >>> frame("My cat left.", "tldr")
    'POST\nMy cat left.\nTL;DR: '
    >>> frame(frame("Why?", "hh_rlhf"), "hh_rlhf")
    '\n\nHuman: Why?\n\nAssistant:'
    """
    return text if text.endswith(_ENDS[data]) else READERS[data](_row(text, data))


def _row(text: str, data: str) -> Row:
    """Make a stored row that holds nothing but ``text``, so that it is framed as the data's own are."""
    rows: dict[str, Row] = {
        "hh_rlhf": {
            "prompt": dialogue.to_text([{"role": "user", "content": text}]),
            "chosen": "",
            "rejected": "",
        },
        "tldr": {
            "info": {"post": text, "article": None, "subreddit": None},
            "summaries": [{"text": ""}, {"text": ""}],
            "choice": 0,
        },
        "webgpt": {
            "question": {"full_text": text},
            "answer_0": "",
            "answer_1": "",
            "score_0": 0,
            "score_1": 0,
        },
        "apps": {
            "problem_id": 0,
            "question": text,
            "starter_code": None,
            "difficulty": "",
            "solutions": None,
            "input_output": None,
        },
    }
    return rows[data]
