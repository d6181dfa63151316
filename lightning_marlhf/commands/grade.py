"""`grade`: programs in completions, run on the tests of their problems; verdicts, rewards and pass@k."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from lightning_marlhf.commands import errors
from lightning_marlhf.config.options import ConfigError, read_options
from lightning_marlhf.display.text import printable
from lightning_marlhf.evaluation.grading import GradingJob, find_missing, grade_into, grading_table
from lightning_marlhf.evaluation.grading_inputs import Problems, count_gradable
from lightning_marlhf.ranges import PositiveInt
from lightning_marlhf.records import GradedProgram, read_records
from lightning_marlhf.sandbox.pool import Sandbox, available_cpus
from lightning_marlhf.sandbox.verdicts import Limits, Match

_KS = (1, 5, 10, 100)
_MOST_NAMED = 5  # problems in an error


@dataclass(frozen=True, kw_only=True)
class GradeOptions:
    """Run the programs in completions on the tests of their problems, isolated from this machine, and report pass@k.

    Args:
        problems: JSONL with the columns of codeparrot/apps: `problem_id`, `input_output`, `difficulty`, ...
        completions: JSONL with `problem_id` and `completion`, several rows per problem for pass@k; or as runs on APPS
            and generate write them (`response`, `reference`).
        out: File (JSONL) to which one row per completion is added as it is graded; rerun to resume.
        overwrite: Overwrite --out.
        k: Values of k for pass@k (default: 1 5 10 100, as far as all problems have enough completions).
        raw: Completions are programs; without it, the program is looked for in prose and fences.
        run_empty: Run programs that are empty or nothing but comments, as the released code does; without it, they are
            runtime errors.
        match: Comparison of outputs. strict: in order, tolerance for decimals only; apps: as the official test
            program, which is lenient.
        tests: Number of a problem's first tests to run (default: all).
        workers: Number of programs that run at a time (default: one per CPU).
        allow_weak: Continue if this machine cannot keep programs from reading this user's files.
        unsafe: Continue if this machine cannot isolate programs at all: they can do whatever this user can.
    """

    problems: Path
    completions: Path
    out: Path
    overwrite: bool = False
    k: tuple[PositiveInt, ...] = ()
    raw: bool = False
    run_empty: bool = False
    match: Match = "strict"
    tests: PositiveInt | None = None
    limits: Limits = Limits()
    workers: PositiveInt | None = None
    allow_weak: bool = False
    unsafe: bool = False


def main(arguments: Sequence[str]) -> int:
    """Grade completions; see `grade --help`."""
    return errors.call(lambda: _run(read_options(GradeOptions, arguments[1:], command="grade"), arguments))


def _run(options: GradeOptions, arguments: Sequence[str]) -> int:
    _check_files(options)
    problems = Problems(options.problems)
    counts = count_gradable(options.completions, problems, source=options.problems)
    _check_ks(options.k, counts)
    job = GradingJob(
        problems,
        options.completions,
        options.limits,
        options.match,
        options.raw,
        options.tests,
        empty_is_error=not options.run_empty,
    )
    num_rows, missing = (0, job.attempts()) if options.overwrite else find_missing(options.out, job)
    if total := counts.total() - num_rows:
        workers = options.workers or available_cpus()
        with (
            errors.resumable(str(options.out), arguments),
            Sandbox(
                workers=workers,
                limits=job.limits,
                match=job.match,
                allow_weak=options.allow_weak,
                unsafe=options.unsafe,
            ) as sandbox,
        ):
            sys.stderr.write(f"{sandbox.explain()}\n")
            grade_into(options.out, missing, job, sandbox, workers=workers, total=total, overwrite=options.overwrite)
    ks = options.k or [k for k in _KS if k <= min(counts.values())]
    for line in (str(options.out), *grading_table(read_records(options.out, GradedProgram), ks)):
        sys.stdout.write(printable(f"{line}\n"))
    return 0


def _check_files(options: GradeOptions) -> None:
    out = options.out
    if out.exists() and not out.is_file():
        raise ConfigError(f"--out {out}: expected a file")
    for name, given in (("problems", options.problems), ("completions", options.completions)):
        if given.is_fifo():
            raise ConfigError(f"--{name} {given}: expected a file, which can be read again, not a pipe")
        if out.exists() and given.exists() and out.samefile(given):
            raise ConfigError(f"--out and --{name} are the same file, {out}")


def _check_ks(ks: Sequence[int], counts: Mapping[int, int]) -> None:
    most = max(ks, default=0)
    lacking = {each: count for each, count in counts.items() if count < most}
    if lacking:
        some = islice(lacking.items(), _MOST_NAMED)
        named = ", ".join(f"{each} ({count})" for each, count in some)
        more = ", ..." if len(lacking) > _MOST_NAMED else ""
        raise ConfigError(
            f"--k {most}: expected as many completions of each problem, got fewer of {len(lacking)}: {named}{more}"
        )
