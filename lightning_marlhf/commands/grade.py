"""`grade`: what the tests of programming problems say of the programs in any model's completions."""

import argparse
import shlex
import sys
from collections import Counter as Counts
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import get_args

from lightning_marlhf.commands import errors
from lightning_marlhf.display.counter import Counter
from lightning_marlhf.display.text import printable
from lightning_marlhf.evaluation.grading import Attempt, Job, Problems, grade, read_attempts
from lightning_marlhf.files import cut_unfinished_line, is_utf8, read_jsonl
from lightning_marlhf.records import GradedProgram, append_jsonl, read_records
from lightning_marlhf.sandbox.pool import Sandbox, available_cpus
from lightning_marlhf.sandbox.verdicts import Limits, Match

_KS = (1, 5, 10, 100)
_IN_FLIGHT = (
    16  # programs for each worker: enough that none waits for the slowest, whose row comes first
)
_FIRST_BYTES = b'{"row": '  # of every file of ours
_MOST_NAMED = 5


def main(arguments: Sequence[str]) -> int:
    """Grade completions; see `grade --help`."""
    options = _parser().parse_args(arguments[1:])
    again = [word for word in arguments if word != "--overwrite"]
    return errors.call(lambda: _run(options, again))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m lightning_marlhf grade",
        description="Run the programs in completions on the tests of their problems, isolated from this machine, and "
        "say how many problems are solved (pass@k).",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--problems",
        type=Path,
        required=True,
        metavar="FILE",
        help="JSONL with the columns of codeparrot/apps: `problem_id`, `input_output`, `difficulty`, ...",
    )
    parser.add_argument(
        "--completions",
        type=Path,
        required=True,
        metavar="FILE",
        help="JSONL with `problem_id` and `completion`, several rows a problem for pass@k; or as runs on APPS write "
        "them (`response`, `reference`)",
    )
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="FILE",
        help="add a row for each completion (JSONL) to this file as it is graded; the same command goes on where it "
        "was stopped",
    )
    parser.add_argument("--overwrite", action="store_true", help="begin --out anew")
    parser.add_argument(
        "--k",
        type=int,
        nargs="+",
        metavar="K",
        help=f"tries for pass@k (default {' '.join(map(str, _KS))}, as far as all problems have enough completions)",
    )
    parser.add_argument(
        "--raw",
        action="store_true",
        help="completions are programs; without it the program is looked for in prose and fences",
    )
    parser.add_argument(
        "--run-empty",
        action="store_true",
        help="run programs that are empty or nothing but comments, as the released code does; without it they are "
        "runtime errors",
    )
    _add_grading_options(parser)
    return parser


def _add_grading_options(parser: argparse.ArgumentParser) -> None:
    limits = Limits()
    parser.add_argument(
        "--match",
        default="strict",
        choices=get_args(Match),
        help="how outputs are compared: strict (default: in order, tolerance for decimals alone), or apps, the "
        "official test program's way, which accepts much that is wrong",
    )
    parser.add_argument(
        "--tests", type=int, metavar="N", help="run the first N tests of a problem (default all)"
    )
    parser.add_argument(
        "--cpu-s",
        type=float,
        default=limits.cpu_s,
        metavar="S",
        help=f"CPU seconds for each test (default {limits.cpu_s:g})",
    )
    parser.add_argument(
        "--wall-factor",
        type=float,
        default=limits.wall_factor,
        metavar="F",
        help=f"wall seconds for each CPU second (default {limits.wall_factor:g})",
    )
    parser.add_argument(
        "--memory-mb",
        type=int,
        default=limits.memory_mb,
        metavar="M",
        help=f"MiB for each test (default {limits.memory_mb})",
    )
    parser.add_argument(
        "--workers", type=int, metavar="N", help="programs that run at a time (default: one a CPU)"
    )
    parser.add_argument(
        "--allow-weak",
        action="store_true",
        help="go on where this machine cannot keep programs from reading this user's files",
    )
    parser.add_argument(
        "--unsafe",
        action="store_true",
        help="go on where this machine cannot isolate programs at all: they can do whatever this user can",
    )


def _run(options: argparse.Namespace, again: Sequence[str]) -> int:
    _check(options)
    limits = Limits(
        cpu_s=options.cpu_s, wall_factor=options.wall_factor, memory_mb=options.memory_mb
    )
    counts = _count(options.completions)
    problems = Problems(options.problems)
    counts -= _left_out(counts, problems, options)
    _check_ks(options.k, counts)
    job = Job(
        problems,
        options.completions,
        limits,
        options.match,
        options.raw,
        options.tests,
        empty_is_error=not options.run_empty,
    )
    there, missing = _compare(options.out, job, overwrite=options.overwrite)
    status = 0
    if there < counts.total():
        status = _keep(missing, counts.total() - there, job, options, again)
    if status == 0:
        ks = options.k or [k for k in _KS if k <= min(counts.values())]
        _report(options.out, ks)
    return status


def _check(options: argparse.Namespace) -> None:
    for name, numbers in {
        "k": options.k or [],
        "tests": [options.tests],
        "workers": [options.workers],
    }.items():
        for number in numbers:
            if number is not None and number < 1:
                raise ValueError(f"--{name}: expected at least 1, got {number}")
    out: Path = options.out
    if out.exists() and not out.is_file():
        raise ValueError(f"--out {out}: expected a file")
    for name in ("problems", "completions"):
        given: Path = getattr(options, name)
        if given.is_fifo():
            raise ValueError(
                f"--{name} {given}: expected a file, which can be read again, not a pipe"
            )
        if out.exists() and given.exists() and out.samefile(given):
            raise ValueError(f"--out and --{name} are one file, {out}")


def _count(completions: Path) -> Counts[int]:
    """Count the completions of each problem, and say which can be no program, as they cannot be written as UTF-8."""
    counts: Counts[int] = Counts()
    halves = []
    for each in read_attempts(completions):
        counts[each.problem_id] += 1
        if not is_utf8(each.completion):
            halves.append(each.row)
    if halves:
        told = (
            f"{completions}: row {halves[0]}: half of a surrogate pair, as in a text cut within an emoji: no program "
            f"that compiles ({len(halves)} such rows)\n"
        )
        sys.stderr.write(printable(told))
    return counts


def _left_out(
    counts: Mapping[int, int], problems: Problems, options: argparse.Namespace
) -> Counts[int]:
    """Count the completions of problems without sound tests, and say why they are left out."""
    if not counts:
        raise ValueError(f"no completions in {options.completions}")
    if unknown := counts.keys() - problems.keys():
        attempts = read_attempts(options.completions)
        first = next(each for each in attempts if each.problem_id in unknown)
        raise ValueError(
            f"{options.completions}: row {first.row}: problem {first.problem_id} is not in {options.problems}"
        )
    left_out = Counts({each: counts[each] for each in counts if problems[each].unusable})
    if len(left_out) == len(counts):
        each = next(iter(counts))
        raise ValueError(
            f"no problem of {options.completions} can be graded (problem {each}: {problems[each].unusable})"
        )
    for why in sorted({problems[each].unusable for each in left_out}):
        of = [each for each in left_out if problems[each].unusable == why]
        sys.stderr.write(
            f"completions left out: {sum(left_out[each] for each in of)}, of {len(of)} problems ({why}; the first is "
            f"problem {of[0]})\n"
        )
    if without := len(problems) - len(counts):
        sys.stderr.write(f"problems without completions, not counted: {without}\n")
    return left_out


def _check_ks(ks: Sequence[int] | None, counts: Mapping[int, int]) -> None:
    most = max(ks or [0])
    lacking = {each: count for each, count in counts.items() if count < most}
    if not lacking:
        return
    named = ", ".join(f"{each} ({count})" for each, count in islice(lacking.items(), _MOST_NAMED))
    more = ", ..." if len(lacking) > _MOST_NAMED else ""
    raise ValueError(
        f"--k {most}: expected as many completions of each problem, got fewer of {len(lacking)}: {named}{more}"
    )


def _compare(out: Path, job: Job, *, overwrite: bool) -> tuple[int, Iterator[Attempt]]:
    """Count the rows that are there, and give what is left; refuse a file of other rows."""
    attempts = job.attempts()
    if overwrite or not out.exists():
        return 0, attempts
    with out.open("rb") as file:
        if not _FIRST_BYTES.startswith(file.read(len(_FIRST_BYTES))):
            raise ValueError(f"{out} holds something else: give another --out, or --overwrite")
    cut_unfinished_line(out)
    there = 0
    for there, row in enumerate(read_jsonl(out), start=1):
        attempt = next(attempts, None)
        expected = {"row": None} if attempt is None else job.identity(attempt)
        differing = {column for column in expected if row.get(column) != expected[column]}
        if differing:
            what = "settings" if differing <= {"settings", "match"} else "completions or tests"
            raise ValueError(
                f"{out} holds other results (line {there}: {what} differ): give another --out, or --overwrite"
            )
    return there, attempts


def _keep(
    attempts: Iterable[Attempt],
    total: int,
    job: Job,
    options: argparse.Namespace,
    again: Sequence[str],
) -> int:
    """Grade, and add the results to the file as they come."""
    workers = options.workers or available_cpus()
    with Sandbox(
        workers=workers,
        limits=job.limits,
        match=job.match,
        allow_weak=options.allow_weak,
        unsafe=options.unsafe,
    ) as sandbox:
        sys.stderr.write(f"{sandbox.explain()}\n")
        with _writing(options.out):  # before anything is graded, to find out whether it can be
            options.out.parent.mkdir(parents=True, exist_ok=True)
            options.out.open("w" if options.overwrite else "a").close()
        done = 0
        try:
            with Counter("programs", total) as counter:
                for graded in grade(attempts, job, sandbox, in_flight=_IN_FLIGHT * workers):
                    with _writing(options.out):
                        append_jsonl(options.out, graded)
                    done += len(graded)
                    counter.add(len(graded))
        except KeyboardInterrupt:
            sys.stderr.write(
                f"interrupted: {options.out} lacks {total - done} programs; to go on:\n"
                f"  python -m lightning_marlhf {shlex.join(again)}\n"
            )
            return errors.INTERRUPTED
    return 0


@contextmanager
def _writing(out: Path) -> Iterator[None]:
    """Turn what a disk has against it into one line."""
    try:
        yield
    except OSError as error:
        raise ValueError(
            f"cannot write {out}: {error.strerror}; what is there stays, and the command goes on without --overwrite"
        ) from error


def _report(out: Path, ks: Sequence[int]) -> None:
    from lightning_marlhf.evaluation.grade_table import summarize

    sys.stdout.write(printable(f"{out}\n"))
    for line in summarize(read_records(out, GradedProgram), ks):
        sys.stdout.write(printable(f"{line}\n"))
