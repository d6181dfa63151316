"""Responses that were kept token by token: one of each trained row, cut into macro actions, as a picture."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields

from lightning_marlhf.display.blocks import Block, Picture
from lightning_marlhf.display.text import number
from lightning_marlhf.display.trace_picture import draw_trace
from lightning_marlhf.records import Completion, TokenTrace
from lightning_marlhf.reporting.layout import pictures_of_each
from lightning_marlhf.reporting.load import Run, System, read_responses
from lightning_marlhf.reporting.style import in_style, row_styles, to_picture
from lightning_marlhf.run_folder import COMPLETIONS


@dataclass(frozen=True)
class KeptResponse:
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
                facts=_facts(kept, system.spec.scores),
                color=style.color,
            )
            alt = f"A response of {style.label} cut into macro actions"
            pictures.append(to_picture(figure, name=f"trace-{stage}", alt=alt, wide=True))
    return pictures


def _facts(kept: KeptResponse, scores: Mapping[str, str]) -> list[str]:
    completion = kept.completion
    return [
        *(f"{label} {number(completion.scores.get(key), 2)}" for key, label in scores.items()),
        f"KL {number(completion.kl, 2)} nats",
        f"tokens {len(kept.trace.tokens)}",
        f"macro actions {len(set(kept.trace.macro_index))}",
        f"update {completion.step}",
        f"seed {kept.run.seed}",
    ]


def find_traces(system: System) -> dict[str, KeptResponse]:
    """Return one kept response for each trained row, by stage; rows without one are left out.

    All rows show the same prompt where they can: the one that most rows have kept (of equals, the first in the first
    row's file).
    """
    kept = {
        row.stage: _kept_responses(system.runs_of(row.stage)) for row in system.spec.trained_rows
    }
    counts = Counter(
        sample_id for responses in kept.values() for sample_id in {_key(r) for r in responses}
    )
    chosen = {}
    for stage, responses in kept.items():
        if responses:
            chosen[stage] = max(responses, key=lambda r: counts[_key(r)])  # the first of equals
    return chosen


def _key(kept: KeptResponse) -> tuple[int, str]:
    return kept.run.seed, kept.completion.sample_id


def _kept_responses(runs: Sequence[Run]) -> list[KeptResponse]:
    """Return the held-out responses with a trace, or where there are none the latest rollouts'."""
    kept = [k for run in runs for k in _with_trace(run, run.completions)]
    if kept:
        return kept
    for run in runs:
        for path in sorted(run.folder.glob(f"{COMPLETIONS}/[!.]*-*.jsonl"), reverse=True):
            if kept := _with_trace(run, read_responses(path, [])):
                return kept
    return []


def _with_trace(run: Run, completions: Iterable[Completion]) -> list[KeptResponse]:
    pairs = [(completion, read_trace(completion)) for completion in completions]
    return [KeptResponse(run, c, trace) for c, trace in pairs if trace is not None]


def read_trace(completion: Completion) -> TokenTrace | None:
    """Return the completion's trace; None where it has none or its lists are not of one length."""
    names = [f.name for f in fields(TokenTrace)]
    trace = completion.trace or {}
    if not all(isinstance(trace.get(name), list) for name in names):
        return None
    lengths = {len(trace[name]) for name in names}
    if len(lengths) != 1 or lengths == {0}:
        return None
    try:
        numbers = {name: [_number(v) for v in trace[name]] for name in names[2:]}
        index = [int(i) for i in trace["macro_index"]]
    except (TypeError, ValueError):
        return None
    return TokenTrace([str(token) for token in trace["tokens"]], index, **numbers)


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)
