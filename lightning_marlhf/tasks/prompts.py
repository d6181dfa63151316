"""The prompt formats of the named data sets, for texts that people type and for stored rows.

A named data set is a module here with its rows' format, `PROMPT_END`, `read_prompt`, `row_of` and perhaps `reference`;
its name in `TASKS`; and a DataModule in `data/published.py`.
"""

from collections.abc import Callable
from types import ModuleType
from typing import Any

from lightning_marlhf.tasks import apps, hh_rlhf, tldr, webgpt
from lightning_marlhf.tasks.rows import Row

TASKS: dict[str, ModuleType] = {"hh_rlhf": hh_rlhf, "tldr": tldr, "webgpt": webgpt, "apps": apps}

READERS: dict[str, Callable[[Row], str]] = {name: task.read_prompt for name, task in TASKS.items()}
"""The prompt of a row as the Hub has it, by data set; raises `MalformedRow` or `UnusableRow`."""

REFERENCES: dict[str, Callable[[Row], Any]] = {
    name: task.reference for name, task in TASKS.items() if hasattr(task, "reference")
}
"""What a judge or a test needs of such a row; of the other data sets nothing."""


def frame(text: str, data: str) -> str:
    r"""Write ``text`` as a prompt of a data set; a text that ends as its prompts do is one already.

    >>> frame("My cat left.", "tldr")
    'POST\nMy cat left.\nTL;DR: '
    >>> frame(frame("Why?", "hh_rlhf"), "hh_rlhf")
    '\n\nHuman: Why?\n\nAssistant:'
    """
    task = TASKS[data]
    return text if text.endswith(task.PROMPT_END) else task.read_prompt(task.row_of(text))
