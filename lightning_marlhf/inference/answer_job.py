"""Answers that are wanted of a model: which of them a file has already, and how the others are made."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from lightning_marlhf.display.text import printable
from lightning_marlhf.files import cut_unfinished_line
from lightning_marlhf.inference.answering import Answerer
from lightning_marlhf.inference.completing import (
    Wanted,
    complete,
    refused,
    too_long,
    wanted_answers,
)
from lightning_marlhf.inference.model_folder import model_folder
from lightning_marlhf.inference.prompts import CHAT, Prompt
from lightning_marlhf.records import Completion, read_completions
from lightning_marlhf.rollout.generation import SamplingSettings


@dataclass(frozen=True)
class LoadedModel:
    """A model that is ready to answer."""

    answerer: Answerer
    step: int | None  # optimizer updates of its run; None: not known


@dataclass(frozen=True, kw_only=True)
class AnswerJob:
    """Which answers are wanted, of whom, and how they are sampled."""

    model: str  # as the user names it
    prompts: Sequence[Prompt]
    num_samples: int  # answers to each prompt
    sampling: SamplingSettings
    seed: int
    form: str  # of the prompts: one of FORMATS
    batch_size: int  # answers made at a time
    device: str
    dtype: str

    @property
    def settings(self) -> dict[str, Any]:
        """What else decides the answers, as it stands in their records."""
        sampling = asdict(self.sampling) | {"stop": list(self.sampling.stop)}
        if not self.sampling.stop:
            del sampling["stop"]  # as in the records of earlier versions
        return {**sampling, "format": self.form, "dtype": self.dtype}

    def wanted(self) -> list[Wanted]:
        """Name all answers."""
        return list(wanted_answers(self.prompts, self.num_samples))

    def missing(self, file: Path) -> list[Wanted]:
        """Name the answers that the file has not.

        Raises:
            ValueError: it holds others.
        """
        wanted = self.wanted()
        if not file.exists():
            return wanted
        cut_unfinished_line(file)
        prompts = {each.sample_id: each.prompt.text for each in wanted}
        there = set()
        for row in read_completions(file):
            expected = (prompts.get(row.sample_id), self.model, self.seed, self.settings)
            if expected != (row.prompt, row.model, row.seed, row.settings):
                raise ValueError(
                    f"{file} holds other completions (of sample {row.sample_id} the prompt, model, seed or settings "
                    "differ): give another --out, or --overwrite"
                )
            there.add(row.sample_id)
        return [each for each in wanted if each.sample_id not in there]

    @contextmanager
    def load(self) -> Iterator[LoadedModel]:
        """Load the model; other jobs of the same model may use it."""
        with model_folder(self.model) as folder:
            answerer = Answerer(
                folder.source,
                device=self.device,
                dtype=self.dtype,
                chat_template=self.form == CHAT,
            )
            yield LoadedModel(answerer, folder.step)

    def fitting(self, model: LoadedModel, wanted: Sequence[Wanted]) -> Sequence[Wanted]:
        """Leave out prompts that the model's template refuses, or that it has no room for, and say so.

        Raises:
            ValueError: no prompt of the job fits.
        """
        for why, rows in refused(model.answerer, wanted).items():
            if len(rows) == len(self.prompts) * self.num_samples:
                raise ValueError(f"no prompt is left: {why}")
            sys.stderr.write(
                f"answers left out: {len(rows)} (the first is {rows[0].sample_id}): {why}\n"
            )
            wanted = [each for each in wanted if each not in rows]
        limit = self.sampling.max_new_tokens
        left_out = too_long(model.answerer, wanted, limit)
        if not left_out:
            return wanted
        why = (
            f"{self.model} has room for {model.answerer.positions} tokens, --max-new-tokens {limit} "
            "among them"
        )
        if len(left_out) == len(self.prompts) * self.num_samples:
            raise ValueError(f"no prompt is left that fits: {why}")
        sys.stderr.write(
            f"answers left out, as their prompts are too long: {len(left_out)} (the first is "
            f"{printable(left_out[0].sample_id, keep='')}): {why}\n"
        )
        names = {each.sample_id for each in left_out}
        return [each for each in wanted if each.sample_id not in names]

    def make(self, model: LoadedModel, wanted: Sequence[Wanted]) -> Iterator[list[Completion]]:
        """Yield the wanted answers in order, batch by batch."""
        return complete(
            model.answerer,
            wanted,
            settings=self.sampling,
            seed=self.seed,
            batch_size=self.batch_size,
            record=partial(
                Completion,
                model=self.model,
                seed=self.seed,
                step=model.step,
                settings=self.settings,
            ),
        )
