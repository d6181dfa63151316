"""Generates completions for prompts, resumably into a file.

Also reads third-party files of completions. Imports torch lazily.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_marlhf.display.counter import Counter
from lightning_marlhf.display.text import printable
from lightning_marlhf.files import read_jsonl, truncate_partial_line
from lightning_marlhf.inference.prompts import Prompt
from lightning_marlhf.records import Completion, append_jsonl, read_completions
from lightning_marlhf.tasks.dialogue import to_plain
from lightning_marlhf.tasks.messages import split_dialogue

if TYPE_CHECKING:
    from lightning_marlhf.inference.loading import Exporter, LanguageModel
    from lightning_marlhf.rollout.generation import SamplingSettings
    from lightning_marlhf.types import Rollout

Row = dict[str, Any]
_REQUIRED: Mapping[str, tuple[Any, str]] = {
    "prompt": (str | list, "a text or messages"),
    "response": (str, "a text"),
    "ended": (bool, "true or false"),
}


@dataclass(frozen=True)
class Request:
    """One response to generate."""

    sample_id: str  # its prompt's, with the sample's number if a prompt gets several responses
    prompt: Prompt
    sample: int  # which of the prompt's responses, from 0
    prompt_ids: Sequence[int] = ()  # once tokenised


@dataclass(frozen=True, kw_only=True)
class CompletionJob:
    """The responses to generate: model, prompts, sampling."""

    model: str  # as the user names it
    exporter: "Exporter"
    prompts: Sequence[Prompt]
    num_samples: int  # responses per prompt
    sampling: "SamplingSettings"
    seed: int  # with a prompt's sample_id it decides the response, in any batch
    format: str  # of the prompts: one of FORMATS
    batch_size: int
    device: str
    dtype: str

    @property
    def settings(self) -> dict[str, Any]:
        """The settings recorded with each completion."""
        sampling = asdict(self.sampling) | {"stop": list(self.sampling.stop)}
        if not self.sampling.stop:
            del sampling["stop"]  # as in the records of earlier versions
        return {**sampling, "format": self.format, "dtype": self.dtype}

    def requests(self) -> list[Request]:
        """Name all responses, in order."""
        return [
            Request(f"{prompt.sample_id}/{n}" if self.num_samples > 1 else prompt.sample_id, prompt, n)
            for prompt in self.prompts
            for n in range(self.num_samples)
        ]

    def missing(self, file: Path) -> list[Request]:
        """Name the responses that a file does not have; a line that was cut off is removed from it.

        Raises:
            ValueError: The file holds other completions.
        """
        requests = self.requests()
        if not file.exists():
            return requests
        truncate_partial_line(file)
        prompts = {each.sample_id: each.prompt.text for each in requests}
        done = set()
        for row in read_completions(file):
            expected = (prompts.get(row.sample_id), self.model, self.seed, self.settings)
            if expected != (row.prompt, row.model, row.seed, row.settings):
                raise ValueError(
                    f"{file} holds other completions (of sample {row.sample_id} the prompt, model, seed or settings "
                    "differ): give another --out, or --overwrite"
                )
            done.add(row.sample_id)
        return [each for each in requests if each.sample_id not in done]

    def load(self) -> "AbstractContextManager[LanguageModel]":
        """Load the model; other jobs of the same model may use it."""
        from lightning_marlhf.inference.loading import language_model

        return language_model(self.model, exporter=self.exporter, device=self.device, dtype=self.dtype)

    def tokenize(self, model: "LanguageModel", requests: Sequence[Request]) -> list[Request]:
        """Tokenise prompts; leave out, and report, those that the model cannot respond to.

        Raises:
            ValueError: No prompt of the job is left.
        """
        from lightning_marlhf.hub.chat_template import RefusedDialogueError

        limit = self.sampling.max_new_tokens
        ids: dict[str, list[int]] = {}
        reasons: dict[str, str] = {}
        for name, prompt in {each.prompt.sample_id: each.prompt for each in requests}.items():
            try:
                ids[name] = model.tokenize(prompt.text if prompt.messages is None else prompt.messages)
            except RefusedDialogueError as error:
                reasons[name] = str(error)
            else:
                if len(ids[name]) + limit > model.max_positions:
                    reasons[name] = (
                        f"the prompt is too long: {self.model} has room for {model.max_positions} tokens, "
                        f"--max-new-tokens {limit} included"
                    )
        if reasons and len(reasons) == len(self.prompts):
            raise ValueError(f"no prompt is left: {next(iter(reasons.values()))}")
        for reason in dict.fromkeys(reasons.values()):
            left_out = [each for each in requests if reasons.get(each.prompt.sample_id) == reason]
            first = printable(left_out[0].sample_id, keep="")
            sys.stderr.write(printable(f"responses left out: {len(left_out)} (the first is {first}): {reason}\n"))
        return [
            replace(each, prompt_ids=ids[each.prompt.sample_id])
            for each in requests
            if each.prompt.sample_id not in reasons
        ]

    def run(self, model: "LanguageModel", requests: Sequence[Request]) -> Iterator[list[Completion]]:
        """Generate the responses to tokenised prompts in order, batch by batch."""
        import torch

        from lightning_marlhf.data.examples import PromptExample, TokenizedPrompt
        from lightning_marlhf.rollout.generation import row_seeds

        for batch in batches(requests, self.batch_size):
            prompts = [(each.prompt, each.prompt_ids) for each in batch]
            rollout = model.generate(
                [TokenizedPrompt(PromptExample(p.sample_id, p.text, messages=p.messages), ids) for p, ids in prompts],
                settings=self.sampling,
                seeds=torch.cat([row_seeds(self.seed, [each.prompt.sample_id], each.sample) for each in batch]),
            )
            yield [self._record(each, rollout, i, model.step) for i, each in enumerate(batch)]

    def append_to(
        self, file: Path, model: "LanguageModel", requests: Sequence[Request], *, label: str = "responses"
    ) -> None:
        """Generate the responses to tokenised prompts, and append each batch to a file, under a counter."""
        with Counter(label, len(requests), shown=len(requests) > self.batch_size) as counter:
            for completions in self.run(model, requests):
                append_jsonl(file, completions)
                counter.add(len(completions))

    def _record(self, request: Request, rollout: "Rollout", row: int, step: int | None) -> Completion:
        response_ids = rollout.response_ids[row][rollout.response_mask[row]].tolist()
        return Completion(
            sample_id=request.sample_id,
            prompt=request.prompt.text,
            response=rollout.texts[row],
            model=self.model,
            seed=self.seed,
            step=step,
            num_tokens=len(response_ids),
            ended=bool(rollout.ended[row]),
            reference=request.prompt.reference,
            settings=self.settings,
            prompt_ids=list(request.prompt_ids),
            response_ids=response_ids,
            messages=request.prompt.messages,
        )


def batches(rows: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    """Split ``rows`` into batches of ``size``."""
    return (rows[start : start + size] for start in range(0, len(rows), size))


def read_rows(path: Path) -> list[Row]:
    """Read rows with `prompt` (a text or messages), `response`, and perhaps `ended`, as other tools write them.

    Raises:
        ValueError: There are none, or one has another form; names the file and the row.
    """
    rows = list(read_jsonl(path))
    if not rows:
        raise ValueError(f"no completions in {path}")
    for number, row in enumerate(rows, start=1):
        for key, (kind, expected) in _REQUIRED.items():
            if not isinstance(row.get(key, key == "ended"), kind):
                raise ValueError(f"{path}: row {number}: expected `{key}` with {expected}")
    return rows


def read_responses(path: Path) -> list[Completion]:
    """Read completions, as other tools may write them.

    Raises:
        ValueError: See `read_rows` and `to_completion`.
    """
    return [to_completion(row, n, path) for n, row in enumerate(read_rows(path))]


def to_completion(row: Mapping[str, Any], number: int, path: Path | None) -> Completion:
    """Make a completion of a row (``number`` counts from 0); missing fields get neutral values.

    Raises:
        ValueError: Its messages or tokens have another form; names the file and the row.
    """
    unknown = {"sample_id": str(number), "model": str(path), "seed": 0, "step": None, "num_tokens": 0, "ended": True}
    try:
        for name in ("prompt_ids", "response_ids"):
            found = row.get(name)
            if found is not None and not (isinstance(found, list) and all(type(each) is int for each in found)):
                raise ValueError(f"expected `{name}` with whole numbers")
        return Completion.from_dict({**unknown, **row, **_read_dialogue(row)})
    except ValueError as error:
        raise ValueError(f"{path}: row {number + 1}: {error}") from None


def _read_dialogue(row: Mapping[str, Any]) -> Row:
    """Read the messages that are the prompt, or that a chat template wrote as the prompt."""
    is_text = isinstance(row["prompt"], str)
    found = row.get("messages") if is_text else row["prompt"]
    if found is None:
        return {}
    turns, _ = split_dialogue({"prompt": found}, prompt="prompt", chosen="", responses=())
    return {"messages": turns, "prompt": row["prompt"] if is_text else to_plain(turns)}
