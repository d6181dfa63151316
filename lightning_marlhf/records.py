"""The rows that runs leave on disk for people and for reports, as dataclasses. Standard library only."""

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Any, Self, TypeVar, Union, get_args, get_origin, get_type_hints

from lightning_marlhf.files import read_jsonl, write_text

_MOST_BITS = 64  # of integers; JSON knows no limit


class Record:
    """A row of a JSONL file, with the records inside it; unknown keys are ignored, so that old code reads new files."""

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> Self:
        """Build the record from a parsed JSON object.

        Raises:
            ValueError: a key is missing, or holds something else than the record's field.
        """
        hints = _hints(cls)  # type: ignore[arg-type]
        if missing := [name for name, (_, required) in hints.items() if required and name not in row]:
            raise ValueError(f"{cls.__name__}: no {', '.join(map(repr, missing))}")
        known = {name: _nested(row[name], hints[name][0]) for name in hints if name in row}
        for name, value in known.items():
            hint = hints[name][0]
            if not _fits(value, hint):
                expected = hint if get_origin(hint) else hint.__name__
                long = type(value) is int and value.bit_length() > _MOST_BITS
                got = f"more than {_MOST_BITS} bits" if long else f"type {type(value).__name__}"
                raise ValueError(f"{cls.__name__}: `{name}`: expected {expected}, got {got}")
        return cls(**known)

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-serialisable dictionary."""
        return asdict(self)  # type: ignore[call-overload, no-any-return]


AnyRecord = TypeVar("AnyRecord", bound=Record)


@cache
def _hints(record: type) -> dict[str, tuple[Any, bool]]:
    """Return the type of each field, and whether it must be there."""
    hints = get_type_hints(record)
    return {
        each.name: (hints[each.name], each.default is MISSING and each.default_factory is MISSING)
        for each in fields(record)
    }


def _nested(value: Any, hint: Any) -> Any:
    """Build the records in a value from JSON; other values are unchanged."""
    kind, inner = get_origin(hint), get_args(hint)
    if kind in (Union, UnionType):
        hint = next((each for each in inner if _is_record(each)), Any)
    elif kind is dict and isinstance(value, Mapping) and _is_record(inner[1]):
        return {name: _nested(each, inner[1]) for name, each in value.items()}
    elif kind is list and isinstance(value, list) and _is_record(inner[0]):
        return [_nested(each, inner[0]) for each in value]
    return hint.from_dict(value) if _is_record(hint) and isinstance(value, Mapping) else value


def _is_record(hint: Any) -> bool:
    return isinstance(hint, type) and issubclass(hint, Record)


def _fits(value: Any, hint: Any) -> bool:
    """Return whether a value from JSON, or a record, fits a type; of a list one item of each type is checked.

    Integers above 64 bits have none.
    """
    kind, inner = get_origin(hint), get_args(hint)
    if kind in (Union, UnionType):
        return any(_fits(value, each) for each in inner)
    if kind in (list, tuple):
        if not isinstance(value, list | tuple):
            return False
        samples = {type(each): each for each in value}
        if int in samples:
            samples[int] = max((each for each in value if type(each) is int), key=abs)
        return all(_fits(each, inner[0]) for each in samples.values())
    if kind is dict:
        return isinstance(value, Mapping) and all(_fits(each, inner[1]) for each in value.values())
    if hint in (int, float):
        fits = isinstance(value, int | hint) and not isinstance(value, bool)
        return fits and not (isinstance(value, int) and value.bit_length() > _MOST_BITS)
    return hint is Any or isinstance(value, hint)


@dataclass(frozen=True)
class TokenTrace:
    """One response, token by token, all lists equally long; what `inspect` colours and the report draws."""

    tokens: list[str]  # readable pieces; EOS included
    macro_index: list[int]  # the token's macro action, from 0
    values: list[float]  # the critic's value of the state before the token
    rewards: list[float]  # token rewards: KL penalty, plus the score on the last token
    advantages: list[float]  # the token's macro action's advantage, as the policy loss saw it
    kl: list[float]  # log pi - log pi_ref


@dataclass(frozen=True)
class Completion(Record):
    """One response of one model to one prompt."""

    sample_id: str
    prompt: str
    response: str
    model: str  # path or Hub id of the policy
    seed: int
    step: int | None  # optimizer updates of the policy that wrote it; None: unknown
    num_tokens: int  # response tokens, EOS included
    ended: bool  # True if the policy ended it (EOS, end of turn, stop string) within the limit
    scores: dict[str, float] = field(default_factory=dict)  # "rm", "gold", ...: one number per scorer
    kl: float | None = None  # sum over response tokens of log pi - log pi_ref, in nats
    reference: Any = None  # the task's ground truth, if there is one
    settings: dict[str, Any] = field(default_factory=dict)  # sampling settings
    trace: dict[str, list[Any]] | None = None  # a TokenTrace as a dictionary, if one was kept
    prompt_ids: list[int] | None = None  # the prompt's tokens, BOS included, if they were kept
    response_ids: list[int] | None = None  # the response's tokens, EOS included
    messages: list[dict[str, str]] | None = None
    # ^ `role` and `content` of the dialogue that a chat template wrote as the prompt; None: plain text


@dataclass(frozen=True)
class GradedProgram(Record):
    """Test outcomes of the program in one completion."""

    row: int  # of the completion in its file, from 1
    problem_id: int
    sample: int  # which of the problem's completions, from 0
    difficulty: str
    verdict: str  # the first thing that went wrong in its tests; "passed" where nothing did
    results: list[str]  # one verdict for each test
    passed: int  # tests
    failed: int  # tests, for whatever reason
    reward: float  # as in training
    match: str  # how outputs were compared
    isolation: str  # the sandbox's level, "A" to "D"
    fingerprint: str  # of the completion and the tests: identifies the inputs
    settings: dict[str, Any]  # limits and other settings that affect the results
    message: str = ""  # the last words of the program in the first test that was an error


@dataclass(frozen=True)
class Verdict(Record):
    """One judge's verdict on one pair of responses, in one order."""

    pair_id: str  # of the pair: its prompt, and which of the prompt's responses
    fingerprint: str  # of prompt, a and b: identifies the texts
    order: str  # "ab": a stood first; "ba": b stood first; "": the judge saw each text alone
    winner: str  # "a", "b", "tie" or "invalid": no verdict could be read, counted apart
    judge: str  # its kind and name: "openai:gpt-4o", "rm:runs/.../export", "gold", "human:ada"
    prompt_version: str = ""  # name and hash of the judge prompt; "": no prompt
    raw: str = ""  # the judge's reply, word for word; a person's note
    usage: dict[str, int] = field(default_factory=dict)  # tokens: "prompt_tokens", ...
    seconds: float | None = None  # wall time
    error: str = ""  # why it is invalid


@dataclass(frozen=True)
class WinRate(Record):
    """How often a judge prefers a to b, with 95 % intervals; None: undefined."""

    judge: str
    pairs: int  # judged; those that are invalid included
    wins: int  # of a
    ties: int  # judged a tie, or inconsistent between the two orders
    losses: int
    invalid: int  # no verdict could be read; counted nowhere else
    win_rate: float | None  # (wins + ties / 2) / (wins + ties + losses)
    low: float | None  # bootstrap over prompts
    high: float | None
    decisive_rate: float | None  # wins / (wins + losses)
    wilson_low: float | None  # of the decisive rate
    wilson_high: float | None
    sign_p: float | None  # two-sided sign test of wins against losses, without ties
    flip_rate: float | None  # of the pairs judged in both orders: the winner changed with the order
    first_position_rate: float | None  # of the verdicts with a winner: the response shown first won
    length_controlled: float | None  # win rate if both responses were equally long
    length_controlled_low: float | None
    length_controlled_high: float | None
    longer_wins: float | None  # of the decisive pairs of unequal length: the longer response won
    mean_length_a: float | None  # characters
    mean_length_b: float | None
    remarks: tuple[str, ...] = ()  # caveats of these numbers


@dataclass(frozen=True)
class MeanInterval(Record):
    """A mean over prompts, and the ends of its interval of 95 %; None if there is but one prompt."""

    mean: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class BestOfNPoint(Record):
    """Expected scores of best-of-``n`` sampling, over prompts."""

    temperature: float | None  # of the sampling; None: not known
    n: int
    kl_bound: float  # of best-of-n to the policy it draws from: log n - (n - 1)/n nats
    scores: dict[str, MeanInterval]  # of the chosen response, by scorer


@dataclass(frozen=True)
class BestOfN(Record):
    """`best_of_n.json`: expected scores of best-of-N sampling, for some N and temperatures."""

    model: str  # path or Hub id of the policy; "" if responses of several are in one file
    chooser: str  # name of the score by which the best is chosen
    scorers: dict[str, str]  # scorer of each score, if known
    num_prompts: int
    num_samples: int  # responses to the prompt that has fewest
    points: list[BestOfNPoint]


@dataclass(frozen=True)
class ScoreSummary(Record):
    """Distribution of one scorer's scores over the responses of one policy."""

    mean: MeanInterval  # several responses to one prompt count as their mean
    spread: float  # standard deviation of the responses' scores, n - 1 in the denominator
    quantiles: dict[str, float]  # of the responses' scores: "0.05", "0.25", "0.5", "0.75", "0.95"
    difference: MeanInterval | None  # to the first policy, on the prompts that both responded to
    num_paired: int  # such prompts


@dataclass(frozen=True)
class PolicyScores(Record):
    """The scores of one policy's responses."""

    label: str
    source: str  # model, or file of completions
    num_prompts: int
    num_responses: int
    scores: dict[str, ScoreSummary]  # by scorer


@dataclass(frozen=True)
class RMScores(Record):
    """`rm_score.json`: policies compared by the scores of their responses."""

    scorers: dict[str, str]  # scorer of each score
    settings: dict[str, Any]  # how prompts were drawn and responses sampled
    policies: list[PolicyScores]  # the first is the baseline


@dataclass(frozen=True)
class RunSummary(Record):
    """`done.json`: a finished stage, its metrics, and how long it took."""

    command: str
    step: int  # optimizer updates
    seconds: float  # wall time of the stage, over all its resumes
    metrics: dict[str, float] = field(default_factory=dict)  # final evaluation metrics
    export: str | None = None  # the Hugging Face directory, if one was written


def write_jsonl(path: Path, rows: Iterable[Record]) -> None:
    """Write all ``rows`` atomically, one JSON object a line."""
    write_text(path, "".join(map(_to_line, rows)))


def append_jsonl(path: Path, rows: Iterable[Record]) -> None:
    """Add ``rows`` at the end of a file, on disk before this returns: an interrupted run keeps its rows."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write("".join(map(_to_line, rows)))
        file.flush()
        os.fsync(file.fileno())


def _to_line(row: Record) -> str:
    return json.dumps(row.to_dict(), ensure_ascii=False) + "\n"


def read_records(path: Path, kind: type[AnyRecord]) -> list[AnyRecord]:
    """Read a JSONL file of records.

    Raises:
        ValueError: a row is none; names the file and the row.
    """
    found = []
    for number, row in enumerate(read_jsonl(path), start=1):
        try:
            found.append(kind.from_dict(row))
        except ValueError as error:
            raise ValueError(f"{path}: row {number}: {error}") from None
    return found


def read_completions(path: Path) -> list[Completion]:
    """Read a file of completions."""
    return read_records(path, Completion)


def read_verdicts(path: Path) -> list[Verdict]:
    """Read a file of verdicts."""
    return read_records(path, Verdict)
