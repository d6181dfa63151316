"""Responses themselves: those of every row to the same held-out prompts, and some token by token as a picture."""

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from lightning_marlhf.display.document import Block, Note, Picture, Response, Sample, Text
from lightning_marlhf.display.style import in_style
from lightning_marlhf.display.text import number
from lightning_marlhf.display.trace_picture import draw_trace
from lightning_marlhf.records import Completion, TokenTrace
from lightning_marlhf.reporting.layout import pictures_of_each, row_styles, to_picture
from lightning_marlhf.reporting.load import Run, System, read_responses
from lightning_marlhf.run_folder import COMPLETIONS

NUM_SAMPLES = 4


def samples(systems: Sequence[System], *, count: int = NUM_SAMPLES) -> list[Block]:
    """Return the first prompts of each system's held-out file that every tested row has responded to."""
    found = [sample for system in systems for sample in samples_of(system, count=count)]
    if not found:
        return [Note("There is no held-out prompt that all rows have responded to.")]
    return [Text("The first prompts of the held-out file; not cherry-picked."), *found]


def samples_of(system: System, *, count: int = NUM_SAMPLES) -> list[Sample]:
    """Return the samples of one system, from the first seed that has responses."""
    for seed in system.seeds:
        runs = {row.label: system.runs[row.stage, seed] for row in system.spec.rows}
        tested = {  # the first response to each prompt, last prompt first
            label: {completion.prompt: completion for completion in reversed(run.completions)}
            for label, run in runs.items()
            if run.completions
        }
        if tested:
            return _side_by_side(tested, system, seed=seed, count=count)
    return []


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
                Response(label, row[prompt].response, _sample_facts(row[prompt], system.spec.scores))
                for label, row in tested.items()
            ),
        )
        for number_, prompt in enumerate(shared[:count], start=1)
    ]


def _sample_facts(completion: Completion, scores: Mapping[str, str]) -> str:
    facts = [f"{label} {number(completion.scores.get(key), 2)}" for key, label in scores.items()]
    facts.append(f"{completion.num_tokens} tokens")
    return ", ".join(facts if completion.ended else [*facts, "cut off"])


def reference_text(reference: Any) -> str | None:
    """Return the reference as text: a summary if there is one, else JSON."""
    if isinstance(reference, Mapping) and isinstance(reference.get("summary"), str):
        reference = reference["summary"]
    if reference is None or isinstance(reference, str):
        return reference
    return json.dumps(reference, ensure_ascii=False, sort_keys=True)


@dataclass(frozen=True)
class TracedResponse:
    """A completion with its trace."""

    run: Run
    completion: Completion
    trace: TokenTrace


def traces(systems: Sequence[System]) -> list[Block]:
    """Return a picture of one response for each trained row."""
    return pictures_of_each(
        systems,
        trace_pictures,
        caption="Each background is one macro action. Bars: its advantage as the policy loss saw it. Line: the critic's"
        " value of the state before each token. Bars below: the token's log-ratio of policy to reference. A response"
        " that is too long is cut.",
        missing="No row has kept a response token by token (a trace).",
    )


def trace_pictures(system: System) -> list[Picture]:
    """Return a picture of one response for each trained row that has kept one."""
    styles = row_styles(system.spec)
    pictures = []
    for stage, kept in find_traces(system).items():
        style = styles[stage]
        with in_style():
            figure = draw_trace(
                kept.trace,
                title=f"{style.label}: one response in macro actions",
                facts=_trace_facts(kept, system.spec.scores),
                color=style.color,
            )
            alt = f"A response of {style.label} cut into macro actions"
            pictures.append(to_picture(figure, name=f"trace-{stage}", alt=alt, wide=True))
    return pictures


def _trace_facts(kept: TracedResponse, scores: Mapping[str, str]) -> list[str]:
    completion = kept.completion
    return [
        *(f"{label} {number(completion.scores.get(key), 2)}" for key, label in scores.items()),
        f"KL {number(completion.kl, 2)} nats",
        f"tokens {len(kept.trace.tokens)}",
        f"macro actions {len(set(kept.trace.macro_index))}",
        f"update {completion.step}",
        f"seed {kept.run.seed}",
    ]


def find_traces(system: System) -> dict[str, TracedResponse]:
    """Return one kept response for each trained row, by stage; rows without one are left out.

    All rows show the same prompt if they can: the one that most rows have kept (of equals, the first in the first
    row's file).
    """
    kept = {row.stage: _kept_responses(system.runs_of(row.stage)) for row in system.spec.trained_rows}
    counts = Counter(sample_id for responses in kept.values() for sample_id in {_key(r) for r in responses})
    chosen = {}
    for stage, responses in kept.items():
        if responses:
            chosen[stage] = max(responses, key=lambda r: counts[_key(r)])  # the first of equals
    return chosen


def _key(kept: TracedResponse) -> tuple[int, str]:
    return kept.run.seed, kept.completion.sample_id


def _kept_responses(runs: Sequence[Run]) -> list[TracedResponse]:
    """Return the held-out responses with a trace, or if there are none the latest rollouts'."""
    kept = [k for run in runs for k in _with_trace(run, run.completions)]
    if kept:
        return kept
    for run in runs:
        for path in sorted(run.folder.glob(f"{COMPLETIONS}/[!.]*-*.jsonl"), reverse=True):
            if kept := _with_trace(run, read_responses(path, [])):
                return kept
    return []


def _with_trace(run: Run, completions: Iterable[Completion]) -> list[TracedResponse]:
    pairs = [(completion, read_trace(completion)) for completion in completions]
    return [TracedResponse(run, c, trace) for c, trace in pairs if trace is not None]


def read_trace(completion: Completion) -> TokenTrace | None:
    """Return the completion's trace; None if it has none or its lists are not of one length."""
    names = [f.name for f in fields(TokenTrace)]
    trace = completion.trace or {}
    if not all(isinstance(trace.get(name), list) for name in names):
        return None
    lengths = {len(trace[name]) for name in names}
    if len(lengths) != 1 or lengths == {0}:
        return None
    try:
        numbers = {name: [math.nan if v is None else float(v) for v in trace[name]] for name in names[2:]}
        index = [int(i) for i in trace["macro_index"]]
    except (TypeError, ValueError):
        return None
    return TokenTrace([str(token) for token in trace["tokens"]], index, **numbers)
