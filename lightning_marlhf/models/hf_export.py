"""Hugging Face folders: what every stage leaves behind, and what the next one starts from."""

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from lightning_marlhf.hub.sources import quietly


def export(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    folder: str | Path,
    *,
    card: Mapping[str, Any],
) -> None:
    """Write a folder that ``AutoModelFor...`` and ``AutoTokenizer`` load, with a model card.

    The folder appears whole or not at all: it is written beside its place and renamed; an older one
    is replaced.

    Args:
        model: a causal language model or a sequence classifier.
        tokenizer: the model's.
        folder: where to; parents are made.
        card: what README.md says. "title" and "description" open it; any other entry becomes a
            section: a mapping of numbers or words a table, a text of several lines or a nested
            mapping a code block.
    """
    folder = Path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as scratch:
        new = Path(scratch) / "new"
        with quietly():
            model.save_pretrained(new)
        tokenizer.save_pretrained(new)
        (new / "README.md").write_text(model_card(model, card), encoding="utf-8")
        if folder.exists():
            folder.rename(Path(scratch) / "old")
        new.rename(folder)


def model_card(model: PreTrainedModel, card: Mapping[str, Any]) -> str:
    """Write the model card: Markdown, below the front matter that the Hub reads."""
    task = "text-generation" if model.can_generate() else "text-classification"
    front = [
        "---",
        "library_name: transformers",
        f"pipeline_tag: {task}",
        "tags: [rlhf, ma-rlhf]",
        "---",
    ]
    title = str(card.get("title", f"{type(model).__name__}, trained with lightning_marlhf"))
    parts = ["\n".join(front), f"# {title}"]
    if "description" in card:
        parts.append(str(card["description"]))
    parts += [
        _section(name, value)
        for name, value in card.items()
        if name not in ("title", "description")
    ]
    return "\n\n".join(parts) + "\n"


def _section(name: str, value: Any) -> str:
    return f"## {name.replace('_', ' ').capitalize()}\n\n{_body(value)}"


def _body(value: Any) -> str:
    if isinstance(value, Mapping) and not any(
        isinstance(entry, Mapping | list | tuple) for entry in value.values()
    ):
        rows = [f"| {key} | {_cell(entry)} |" for key, entry in value.items()]
        return "\n".join(["| name | value |", "|---|---|", *rows])
    if isinstance(value, Mapping | list | tuple):
        return f"```json\n{json.dumps(value, indent=2, default=str)}\n```"
    text = str(value).strip()
    return f"```\n{text}\n```" if "\n" in text else text


def _cell(value: Any) -> str:
    text = f"{value:.5g}" if isinstance(value, float) else str(value)
    return text.replace("|", "\\|").replace("\n", " ")
