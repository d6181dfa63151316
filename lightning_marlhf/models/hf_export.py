"""Hugging Face folders: what every stage leaves behind, and what the next one starts from."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from lightning_marlhf.hub.sources import quietly
from lightning_marlhf.models.model_card import model_card


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
        card: what README.md says (see ``model_card``).
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
