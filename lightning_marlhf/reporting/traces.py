"""Find responses that were kept token by token, and lay them out in lines."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from functools import cache

from matplotlib import font_manager
from matplotlib.ft2font import FT2Font

from lightning_marlhf.records import Completion, TokenTrace
from lightning_marlhf.reporting.load import Run, Study, read_answers

FONT = "DejaVu Sans Mono"
_VISIBLE = {"\n": "↵", "\t": "→"}
_UNKNOWN = "□"
_LINE_UNITS = 46  # characters in a line of the picture
_MAX_LINES = 5


@dataclass(frozen=True)
class Placed:
    """One token in the picture."""

    position: int  # index in the response
    text: str
    left: float  # in characters from the line's start
    width: float


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
        for path in sorted(run.folder.glob("completions/*-*.jsonl"), reverse=True):
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


def place_tokens(tokens: Sequence[str]) -> list[list[Placed]]:
    """Lay the tokens out in about equally long lines; what does not fit is left out.

    Args:
        tokens: pieces of text, of one character or more.

    Returns:
        The lines; each token is as wide as its text has characters.
    """
    texts = [_shown(token) for token in tokens]
    total = sum(len(text) for text in texts)
    num_lines = -(-total // _LINE_UNITS)
    limit = max(-(-total // num_lines), *(len(text) for text in texts)) if texts else 0
    limit = min(limit, _LINE_UNITS) if num_lines > 1 else limit
    lines: list[list[Placed]] = [[]]
    left = 0
    for position, text in enumerate(texts):
        if lines[-1] and left + len(text) > limit:
            lines.append([])
            left = 0
        lines[-1].append(Placed(position, text, left, len(text)))
        left += len(text)
    return lines[:_MAX_LINES]


def _shown(token: str) -> str:
    """Return a token as the picture's font can draw it, never empty and never wider than a line."""
    characters = _drawable_characters()
    text = "".join(_VISIBLE.get(c, c if ord(c) in characters else _UNKNOWN) for c in token)
    return text[:_LINE_UNITS] or _UNKNOWN


@cache
def _drawable_characters() -> frozenset[int]:
    path = font_manager.findfont(font_manager.FontProperties(family=FONT))
    return frozenset(FT2Font(path).get_charmap())
