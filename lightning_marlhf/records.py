"""What runs leave on disk for people and for reports: JSON rows, written atomically. Standard library only."""

import codecs
import gzip
import json
import os
import re
import tempfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from functools import cache
from pathlib import Path
from types import UnionType
from typing import (
    IO,
    Any,
    NamedTuple,
    Self,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

BLANK = " \t\n\r\v\f"  # a line of nothing else holds no row
_MOST_BITS = 64  # of whole numbers; JSON knows no limit
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")  # half of a pair of escapes, or one of two halves


class Record:
    """A row of a JSONL file; unknown keys are ignored, so that old code reads new files."""

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> Self:
        """Build the record from a parsed JSON object.

        Raises:
            ValueError: a key is missing, or holds something else than the record's field.
        """
        hints = _hints(cls)  # type: ignore[arg-type]
        if missing := [
            name for name, (_, required) in hints.items() if required and name not in row
        ]:
            raise ValueError(f"{cls.__name__}: no {', '.join(map(repr, missing))}")
        known = {name: row[name] for name in hints if name in row}
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
    """Give the type of each field, and whether it must be there."""
    hints = get_type_hints(record)
    return {
        each.name: (hints[each.name], each.default is MISSING and each.default_factory is MISSING)
        for each in fields(record)
    }


def _fits(value: Any, hint: Any) -> bool:
    """Tell whether a value from JSON, or a record made of one, is of a type; of a list one item of each type.

    Whole numbers that no float can hold are of none.
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
    """One response token by token, all lists equally long; what `inspect` colours and the report draws."""

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
    step: int | None  # optimizer updates of the policy when it answered; None: not known
    num_tokens: int  # response tokens, EOS included
    ended: bool  # True where the policy ended it (EOS, end of turn, stop string) within the limit
    scores: dict[str, float] = field(
        default_factory=dict
    )  # "rm", "gold", ...: one number per scorer
    kl: float | None = None  # sum over response tokens of log pi - log pi_ref, in nats
    reference: Any = None  # what the task holds as truth, where there is one
    settings: dict[str, Any] = field(default_factory=dict)  # sampling settings
    trace: dict[str, list[Any]] | None = None  # a TokenTrace as a dictionary, where one was kept
    prompt_ids: list[int] | None = None  # the prompt's tokens, BOS included, where they were kept
    response_ids: list[int] | None = None  # the response's tokens, EOS included
    messages: list[dict[str, str]] | None = None
    # ^ `role` and `content` of the dialogue that a chat template wrote as the prompt; None: plain text


@dataclass(frozen=True)
class GradedProgram(Record):
    """What the tests of its problem say of the program in one completion."""

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
    fingerprint: str  # of the completion and the tests; tells a file of other inputs
    settings: dict[str, Any]  # limits, and what else decides the results
    message: str = ""  # the last words of the program in the first test that was an error


@dataclass(frozen=True)
class Verdict(Record):
    """What one judge says of one pair of responses, shown in one order."""

    pair_id: str  # of the pair: its prompt, and which of the prompt's answers
    fingerprint: str  # of prompt, a and b; tells a verdict of other texts
    order: str  # "ab": a stood first; "ba": b stood first; "": the judge saw each text alone
    winner: str  # "a", "b", "tie" or "invalid": no verdict could be read, counted apart
    judge: str  # its kind and name: "openai:gpt-4o", "rm:runs/.../export", "gold", "human:ada"
    prompt_version: str = ""  # name and hash of the file that asks the judge; "": nothing was asked
    raw: str = ""  # what it answered, word for word; a person's note
    usage: dict[str, int] = field(default_factory=dict)  # tokens: "prompt_tokens", ...
    seconds: float | None = None  # it took
    error: str = ""  # why it is invalid


@dataclass(frozen=True)
class WinRate(Record):
    """How often a judge prefers a to b; intervals are of 95 %, a number is None where it cannot be had."""

    judge: str
    pairs: int  # judged; those that are invalid included
    wins: int  # of a
    ties: int  # said so, or another winner when the order was turned round
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
    first_position_rate: float | None  # of the verdicts with a winner: the answer shown first
    length_controlled: float | None  # win rate if both answers were equally long
    length_controlled_low: float | None
    length_controlled_high: float | None
    longer_wins: float | None  # of the decisive pairs of unequal length: the longer answer won
    mean_length_a: float | None  # characters
    mean_length_b: float | None
    remarks: tuple[str, ...] = ()  # what to keep in mind when reading these numbers


@dataclass(frozen=True)
class MeanInterval(Record):
    """A mean over prompts, and the ends of its interval of 95 %; None where there is but one prompt."""

    mean: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class BestOfNPoint(Record):
    """What the best of ``n`` answers is worth, over prompts."""

    temperature: float | None  # of the sampling; None: not known
    n: int
    kl_bound: float  # of best-of-n to the policy it draws from: log n - (n - 1)/n nats
    scores: dict[str, MeanInterval]  # of the answer that is chosen, by scorer

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> Self:
        """Build the record and what stands inside it."""
        scores = {name: MeanInterval.from_dict(value) for name, value in row["scores"].items()}
        return super().from_dict({**row, "scores": scores})


@dataclass(frozen=True)
class BestOfN(Record):
    """`best_of_n.json`: what the best of N answers is worth, for some N and temperatures."""

    model: str  # path or Hub id of the policy; "" where answers of several are in one file
    chooser: str  # name of the score by which the best is chosen
    scorers: dict[str, str]  # what gave the scores, by their names, where it is known
    num_prompts: int
    num_samples: int  # answers to the prompt that has fewest
    points: list[BestOfNPoint]

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> Self:
        """Build the record and what stands inside it."""
        return super().from_dict(
            {**row, "points": [BestOfNPoint.from_dict(point) for point in row["points"]]}
        )


@dataclass(frozen=True)
class ScoreSummary(Record):
    """How one scorer's numbers are spread over the answers of one policy."""

    mean: MeanInterval  # several answers to one prompt count as their mean
    spread: float  # standard deviation of the answers' scores, n - 1 in the denominator
    quantiles: dict[str, float]  # of the answers' scores: "0.05", "0.25", "0.5", "0.75", "0.95"
    difference: MeanInterval | None  # to the first policy, on the prompts that both answered
    num_paired: int  # such prompts

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> Self:
        """Build the record and what stands inside it."""
        other = row["difference"]
        inside = {
            "mean": MeanInterval.from_dict(row["mean"]),
            "difference": None if other is None else MeanInterval.from_dict(other),
        }
        return super().from_dict({**row, **inside})


@dataclass(frozen=True)
class PolicyScores(Record):
    """What scorers say of one policy's answers."""

    label: str
    source: str  # model, or file of completions
    num_prompts: int
    num_responses: int
    scores: dict[str, ScoreSummary]  # by scorer

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> Self:
        """Build the record and what stands inside it."""
        scores = {name: ScoreSummary.from_dict(value) for name, value in row["scores"].items()}
        return super().from_dict({**row, "scores": scores})


@dataclass(frozen=True)
class RMScores(Record):
    """`rm_score.json`: policies compared by the scores of their answers."""

    scorers: dict[str, str]  # what gave the scores, by their names
    settings: dict[str, Any]  # how prompts were drawn and answers sampled
    policies: list[PolicyScores]  # the first is what the others are compared with

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> Self:
        """Build the record and what stands inside it."""
        return super().from_dict(
            {**row, "policies": [PolicyScores.from_dict(each) for each in row["policies"]]}
        )


@dataclass(frozen=True)
class RunSummary(Record):
    """`done.json`: a finished stage, its metrics, and how long it took."""

    command: str
    step: int  # optimizer updates
    seconds: float  # wall time of the stage, over all its resumes
    metrics: dict[str, float] = field(default_factory=dict)  # final evaluation metrics
    export: str | None = None  # the Hugging Face directory, if one was written


def write_text(path: Path, text: str) -> None:
    """Write ``text`` so that a reader sees the old file or the new one, never half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write one JSON object, indented, atomically."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """Read what `write_json` wrote.

    Raises:
        ValueError: the file holds something else; names it.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not JSON: {error}") from None
    if not isinstance(value, dict):
        raise ValueError(f"{path}: expected a JSON object, got {type(value).__name__}")
    return value


def write_jsonl(path: Path, rows: Iterable[Record]) -> None:
    """Write all ``rows`` atomically, one JSON object a line."""
    write_text(path, "".join(map(_to_line, rows)))


def append_jsonl(path: Path, rows: Iterable[Record]) -> None:
    """Add ``rows`` at the end of a file, on disk before this returns: what a run has made stays when it is cut off."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write("".join(map(_to_line, rows)))
        file.flush()
        os.fsync(file.fileno())


def cut_unfinished_line(path: Path) -> None:
    """Remove what follows the last line end: a row that was being appended when its process was killed."""
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if whole != content:
        os.truncate(path, len(whole))


def _to_line(row: Record) -> str:
    return json.dumps(row.to_dict(), ensure_ascii=False) + "\n"


class Line(NamedTuple):
    """One line of a text file."""

    offset: int  # where it begins, in bytes of what `open_bytes` gives
    text: str  # without its end


def open_bytes(path: Path) -> IO[bytes]:
    """Open a file; one whose name ends with .gz is unpacked."""
    return gzip.open(path) if path.suffix == ".gz" else path.open("rb")  # type: ignore[return-value]


def read_lines(path: Path) -> Iterator[Line]:
    """Yield the lines of a text file in UTF-8, with or without a byte-order mark.

    A line ends at a newline, perhaps after a carriage return, and nowhere else: U+2028, U+0085 and form feeds are text.

    Raises:
        ValueError: a line is no such text, or the file is not a whole gzip file; names the file and the row, from 1.
    """
    offset = 0
    with open_bytes(path) as file:
        try:
            for number, content in enumerate(file, start=1):
                yield Line(
                    offset, decode_line(content, first=number == 1, where=f"{path}: row {number}")
                )
                offset += len(content)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise ValueError(f"{path}: no whole gzip file: {error}") from None


def decode_line(content: bytes, *, first: bool, where: str) -> str:
    """Read a line as UTF-8, without its end; the ``first`` of a file may begin with a byte-order mark.

    Raises:
        ValueError: it is no text in UTF-8; begins with ``where``.
    """
    content = content.removesuffix(b"\n").removesuffix(b"\r")
    try:
        text = content.removeprefix(codecs.BOM_UTF8 if first else b"").decode()
    except UnicodeDecodeError as error:
        kind = (
            "UTF-16" if first and content[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else ""
        )
        found = kind or f"the byte 0x{content[error.start]:02x} at position {error.start}"
        raise ValueError(
            f"{where}: expected text in UTF-8, got {found}; save the file as UTF-8"
        ) from None
    if "\0" in text:
        raise ValueError(
            f"{where}: expected text in UTF-8, got a NUL byte (as in UTF-16, or in damaged files)"
        )
    return text


def parse_row(line: str, *, lone_surrogates: bool = False) -> dict[str, Any]:
    """Parse a line of a JSONL file.

    Args:
        line: of text.
        lone_surrogates: let texts pass that hold half of a surrogate pair, which no file and no tokenizer takes.

    Raises:
        ValueError: it is no JSON object, names a key twice, or holds half of a surrogate pair.
    """
    try:
        row = json.loads(line.removeprefix("\ufeff"), object_pairs_hook=_object)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not JSON: {error}") from None
    if not isinstance(row, dict):
        raise ValueError(f"expected a JSON object, got {type(row).__name__}")
    if not lone_surrogates and _SURROGATE.search(line) and (found := _lone_surrogate(row)):
        raise ValueError(
            f"expected text, got half of a surrogate pair ({found}), as in a text cut within an emoji"
        )
    return row


def is_utf8(text: str) -> bool:
    """Tell a text that can be written from one that holds half of a surrogate pair."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {next(n for n in names if names.count(n) > 1)!r} is there twice")
    return found


def _lone_surrogate(row: Mapping[str, Any]) -> str:
    """Give the first half of a surrogate pair as its escape; "" where there is none."""
    try:
        json.dumps(row, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        return f"\\u{ord(error.object[error.start]):04x}"
    return ""


def read_jsonl(path: Path, *, lone_surrogates: bool = False) -> Iterator[dict[str, Any]]:
    """Yield the objects of a JSONL file, skipping blank lines.

    Args:
        path: of the file; see `read_lines`.
        lone_surrogates: see `parse_row`.

    Raises:
        ValueError: a line is no JSON object; names the file and the row.
    """
    rows = (line.text for line in read_lines(path) if line.text.strip(BLANK))
    for number, row in enumerate(rows, start=1):
        try:
            yield parse_row(row, lone_surrogates=lone_surrogates)
        except ValueError as error:
            raise ValueError(f"{path}: row {number}: {error}") from None


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
