"""The same held-out prompts with the responses of every row."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from lightning_marlhf.display.blocks import Block, Note, Response, Sample, Text
from lightning_marlhf.display.text import number
from lightning_marlhf.records import Completion
from lightning_marlhf.reporting.load import Run, System

NUM_SAMPLES = 4


def samples(systems: Sequence[System], *, count: int = NUM_SAMPLES) -> list[Block]:
    """Return the first prompts of each system's held-out file that every tested row has responded to."""
    found = [sample for system in systems for sample in samples_of(system, count=count)]
    if not found:
        return [Note("There is no held-out prompt that all rows have responded to.")]
    return [Text("The first prompts of the held-out file, not chosen for what they show."), *found]


def samples_of(system: System, *, count: int = NUM_SAMPLES) -> list[Sample]:
    """Return the samples of one system, from the first seed that has responses."""
    for seed in system.seeds:
        runs = {row.label: system.runs[row.stage, seed] for row in system.spec.rows}
        tested = {label: _first_responses(run) for label, run in runs.items() if run.completions}
        if tested:
            return _side_by_side(tested, system, seed=seed, count=count)
    return []


def _first_responses(run: Run) -> dict[str, Completion]:
    """Return the first response to each prompt; last prompt first."""
    return {completion.prompt: completion for completion in reversed(run.completions)}


def _side_by_side(
    tested: Mapping[str, dict[str, Completion]], system: System, *, seed: int, count: int
) -> list[Sample]:
    first = next(iter(tested.values()))
    shared = [p for p in reversed(first) if all(p in row for row in tested.values())]
    name = f"{system.spec.label}. " if system.spec.label else ""
    return [
        Sample(
            title=f"{name}Held-out prompt {number_} (seed {seed}, {first[prompt].sample_id})",
            prompt=prompt,
            reference=reference_text(first[prompt].reference),
            responses=tuple(
                Response(label, row[prompt].response, _facts(row[prompt], system.spec.scores))
                for label, row in tested.items()
            ),
        )
        for number_, prompt in enumerate(shared[:count], start=1)
    ]


def _facts(completion: Completion, scores: Mapping[str, str]) -> str:
    facts = [f"{label} {number(completion.scores.get(key), 2)}" for key, label in scores.items()]
    facts.append(f"{completion.num_tokens} tokens")
    return ", ".join(facts if completion.ended else [*facts, "cut off"])


def reference_text(reference: Any) -> str | None:
    """Return what the task holds as truth as text: a summary where there is one, else JSON."""
    if isinstance(reference, Mapping) and isinstance(reference.get("summary"), str):
        reference = reference["summary"]
    if reference is None or isinstance(reference, str):
        return reference
    return json.dumps(reference, ensure_ascii=False, sort_keys=True)
