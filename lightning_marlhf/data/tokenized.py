"""The rows of a tokenised split as a torch data set."""

import json
from typing import Any

import datasets
from torch.utils.data import Dataset

from lightning_marlhf.data.base import Stage
from lightning_marlhf.data.examples import (
    Example,
    Question,
    TokenizedDemonstration,
    TokenizedPreference,
    TokenizedQuestion,
)


class TokenizedRows(Dataset[Example]):
    """Rows that `encode` made and that are used.

    Args:
        rows: without those that are unusable.
        stage: which kind of row they are.
        name: of the data set and the stored split; with the row's number it names a sample for ever.
        times: how often each question is asked, side by side, under names of their own (``.../0``, ``.../1``).
    """

    def __init__(self, rows: datasets.Dataset, *, stage: Stage, name: str, times: int = 1) -> None:
        self.rows = rows
        self.stage = stage
        self.name = name
        self.times = times

    def __len__(self) -> int:
        return len(self.rows) * self.times

    def __getitem__(self, index: int) -> Example:
        position, time = divmod(index, self.times)
        row: dict[str, Any] = self.rows[position]
        if self.stage == "sft":
            return TokenizedDemonstration(row["input_ids"], row["response_start"])
        if self.stage == "reward_model":
            return TokenizedPreference(row["chosen_ids"], row["rejected_ids"])
        reference = json.loads(row["reference"]) if row["reference"] else None
        sample_id = f"{self.name}/{row['row']}" + (f"/{time}" if self.times > 1 else "")
        messages = json.loads(row["messages"]) if row["messages"] else None
        question = Question(sample_id, row["prompt"], reference, messages)
        return TokenizedQuestion(question, row["prompt_ids"])
