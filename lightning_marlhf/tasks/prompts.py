"""The prompt formats of the named data sets, for texts that people type and for stored rows.

A named data set is a module here (its rows' format, `PROMPT_END`, `row_of`), a line in the registries below, and a
DataModule in `data/named_datasets.py`.
"""

from collections.abc import Callable
from typing import Any

from lightning_marlhf.tasks import apps, hh_rlhf, tldr, webgpt
from lightning_marlhf.tasks.rows import Row

TASKS = {"hh_rlhf": hh_rlhf, "tldr": tldr, "webgpt": webgpt, "apps": apps}

READERS: dict[str, Callable[[Row], str]] = {
    "hh_rlhf": lambda row: hh_rlhf.preference(row).prompt,
    "tldr": lambda row: tldr.preference(row).prompt,
    "webgpt": lambda row: webgpt.preference(row).prompt,
    "apps": lambda row: apps.problem(row).prompt,
}
"""The prompt of a row as the Hub has it, by data set; raises `MalformedRow` or `UnusableRow`."""

REFERENCES: dict[str, Callable[[Row], Any]] = {"apps": apps.reference}
"""Reference for a judge or test; only some data sets have one."""


def frame(text: str, data: str) -> str:
    r"""Write ``text`` as a prompt of a data set; a text that ends as its prompts do is one already.

    >>> frame("My cat left.", "tldr")
    'POST\nMy cat left.\nTL;DR: '
    >>> frame(frame("Why?", "hh_rlhf"), "hh_rlhf")
    '\n\nHuman: Why?\n\nAssistant:'
    """
    task: Any = TASKS[data]
    return text if text.endswith(task.PROMPT_END) else READERS[data](task.row_of(text))
