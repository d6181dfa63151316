"""The same held-out prompts, answered by every row."""

import json
from collections.abc import Mapping
from typing import Any

from lightning_marlhf.display.blocks import Answer, Sample
from lightning_marlhf.records import Completion
from lightning_marlhf.reporting.load import Run, Study
from lightning_marlhf.reporting.text import number

NUM_SAMPLES = 4


def samples(study: Study, *, count: int = NUM_SAMPLES) -> tuple[Sample, ...]:
    """Return the first ``count`` posts of the file that every row with answers has answered.

    Taken from the first seed that has answers: not chosen for what they show.
    """
    for seed in study.seeds:
        answers = {
            row.label: _first_answers(study.runs[row.stage, seed])
            for row in study.spec.rows
            if study.runs[row.stage, seed].completions
        }
        if answers:
            return _side_by_side(answers, study.spec.scores, seed=seed, count=count)
    return ()


def _first_answers(run: Run) -> dict[str, Completion]:
    """Return the first answer to each prompt; last prompt first."""
    return {completion.prompt: completion for completion in reversed(run.completions)}


def _side_by_side(
    answers: Mapping[str, dict[str, Completion]],
    scores: Mapping[str, str],
    *,
    seed: int,
    count: int,
) -> tuple[Sample, ...]:
    first = next(iter(answers.values()))
    shared = [p for p in reversed(first) if all(p in row for row in answers.values())]
    return tuple(
        Sample(
            title=f"Held-out post {number_} (seed {seed}, {first[prompt].sample_id})",
            prompt=prompt,
            reference=reference_text(first[prompt].reference),
            answers=tuple(
                Answer(label, row[prompt].response, _facts(row[prompt], scores))
                for label, row in answers.items()
            ),
        )
        for number_, prompt in enumerate(shared[:count], start=1)
    )


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
