"""Find responses that were kept token by token."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields

from lightning_marlhf.records import Completion, TokenTrace
from lightning_marlhf.reporting.load import Run, Study, read_answers
from lightning_marlhf.run_folder import COMPLETIONS


@dataclass(frozen=True)
class KeptResponse:
    """A completion with its trace."""

    run: Run
    completion: Completion
    trace: TokenTrace


def find_traces(study: Study) -> dict[str, KeptResponse]:
    """Return one kept response for each trained row, by stage; rows without one are left out.

    All rows show the same post where they can: the one that most rows have kept (of equals, the
    first in the first row's file).
    """
    kept = {row.stage: _kept_responses(study.runs_of(row.stage)) for row in study.spec.trained_rows}
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
            if kept := _with_trace(run, read_answers(path, [])):
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
