"""`win-rate`: how often judges prefer the answers in one file to those in another."""

import argparse
import shlex
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning_marlhf.commands import errors
from lightning_marlhf.display.counter import Counter
from lightning_marlhf.display.text import printable
from lightning_marlhf.evaluation.judges import instructions
from lightning_marlhf.evaluation.judges import options as judge_options
from lightning_marlhf.evaluation.judges.base import Judge, JudgeError
from lightning_marlhf.evaluation.judges.budget import Budget, BudgetSpent
from lightning_marlhf.evaluation.judges.human import HumanJudge
from lightning_marlhf.evaluation.pair_files import draw, read_pairs
from lightning_marlhf.evaluation.pairs import Pair
from lightning_marlhf.evaluation.verdict_file import VerdictFile, complete
from lightning_marlhf.files import read_json
from lightning_marlhf.records import Verdict

VERDICTS, RESULTS, PAGE = "verdicts.jsonl", "win_rate.json", "win_rate.md"
_PRESETS: Mapping[str, Mapping[str, Any]] = {
    "": {"n": None, "orders": "both", "seed": 0},
    "paper": {"n": 50, "orders": "one", "seed": 42},
}


@dataclass(frozen=True)
class Judged:
    """What one judge said."""

    judge: str
    prompt_version: str
    verdicts: tuple[Verdict, ...]  # on the pairs that it judged in every order
    pairs: int  # that it was to judge


def main(arguments: Sequence[str]) -> int:
    """Compare two files of completions; see `win-rate --help`."""
    options = _parser().parse_args(arguments[1:])
    again = [word for word in arguments if word != "--overwrite"]
    return errors.call(lambda: _run(options, again))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m lightning_marlhf win-rate",
        description="Compare the answers of two models to the same prompts by one or several judges: how often a is "
        "preferred, with intervals, and what may have misled the judge.",
        allow_abbrev=False,
    )
    for name in ("a", "b"):
        parser.add_argument(
            f"--{name}",
            type=Path,
            required=True,
            metavar="FILE",
            help="JSONL with `prompt` and `response`, as generate and runs write it",
        )
    parser.add_argument(
        "--task",
        default="general",
        choices=list(instructions.FILES),
        help="what a language model is asked to judge by (default general)",
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FOLDER",
        help=f"{VERDICTS}, to which each verdict is added as it comes, {RESULTS} and {PAGE}; the same command goes on "
        "where it was stopped",
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="begin --out anew; cached replies stay"
    )
    parser.add_argument(
        "--n", type=int, metavar="N", help="prompts to judge, drawn by the seed (default all)"
    )
    parser.add_argument(
        "--orders",
        choices=["both", "one"],
        help="both (default): each pair is shown in both orders, and a is better where it is both times; one: in one, "
        "drawn by the seed",
    )
    parser.add_argument(
        "--seed", type=int, metavar="S", help="of prompts, orders and intervals (default 0)"
    )
    parser.add_argument(
        "--preset",
        default="",
        choices=["paper"],
        help="paper: 50 prompts (of TL;DR each subreddit's share), one order, seed 42",
    )
    judge_options.add_judge_options(parser)
    return parser


def _run(options: argparse.Namespace, again: Sequence[str]) -> int:
    _check(options)
    pairing = read_pairs(options.a, options.b)
    stratified = options.preset == "paper" and options.task == "tldr"
    pairs = draw(pairing.pairs, options.n, seed=options.seed, by_subreddit=stratified)
    if options.dry_run:
        _forecast(options, pairs)
        return 0
    _prepare_folder(options)
    budget = judge_options.make_budget(options)
    try:
        judged, stopped = _judge_all(options, pairs, budget)
    except (KeyboardInterrupt, JudgeError) as error:
        if isinstance(error, KeyboardInterrupt) or (options.out / VERDICTS).exists():
            _say_how_to_go_on(options.out / VERDICTS, again)
        if isinstance(error, KeyboardInterrupt):
            return errors.INTERRUPTED
        raise
    _say_spent(budget)
    return _report(options, pairs, judged, stopped)


def _check(options: argparse.Namespace) -> None:
    for name, value in _PRESETS[options.preset].items():
        if getattr(options, name) is None:
            setattr(options, name, value)
    if options.n is not None and options.n < 1:
        raise ValueError(f"--n: expected at least 1, got {options.n}")
    judge_options.check_judge_options(options)
    if options.out is None and not options.dry_run:
        raise ValueError("expected --out FOLDER, where verdicts are kept")


def _forecast(options: argparse.Namespace, pairs: Sequence[Pair]) -> None:
    """Say what judging would take."""
    budget = judge_options.make_budget(options)
    sys.stdout.write(f"{len(pairs)} pairs\n")
    for spec in options.judge:
        if not judge_options.is_language_model(spec):
            sys.stdout.write(f"{spec}: no requests\n")
            continue
        with ExitStack() as stack:
            judge = judge_options.make_language_model(spec, options, budget=budget, stack=stack)
            found = judge.forecast(pairs)
        tokens = {
            "prompt_tokens": found.prompt_tokens,
            "completion_tokens": found.completion_tokens,
        }
        cost = f", at most {budget.price.of(tokens):.2f} dollars" if options.price else ""
        sys.stdout.write(
            f"{judge.name}: {found.calls} requests, {found.cached} in the cache, {found.identical} ties of identical "
            f"answers; about {found.prompt_tokens:,} tokens of prompts, at most {found.completion_tokens:,} of "
            f"replies{cost}\n"
        )


def _prepare_folder(options: argparse.Namespace) -> None:
    """Refuse the folder of another comparison, or empty it if that was asked for."""
    out: Path = options.out
    if out.exists() and not out.is_dir():
        raise ValueError(f"--out {out}: expected a folder")
    if options.overwrite:
        for name in (VERDICTS, RESULTS, PAGE):
            (out / name).unlink(missing_ok=True)
    if not (out / RESULTS).is_file():
        return
    there = read_json(out / RESULTS)
    for name in ("a", "b"):
        if there.get(name) != str(getattr(options, name)):
            raise ValueError(
                f"{out} holds another comparison ({name} is {there.get(name)}): give another --out, or --overwrite"
            )


def _judge_all(
    options: argparse.Namespace, pairs: Sequence[Pair], budget: Budget
) -> tuple[list[Judged], str]:
    """Ask every judge; say why one stopped early, or nothing."""
    judged, stopped = [], ""
    with VerdictFile(options.out / VERDICTS) as file:
        for spec in options.judge:
            with ExitStack() as stack:
                judge = judge_options.make_judge(spec, options, budget=budget, stack=stack)
                found: list[Verdict] = []
                try:
                    _judge(judge, pairs, file, found, anew=options.reparse)
                except BudgetSpent as limit:
                    stopped = str(limit)
            verdicts = complete(judge, pairs, found)
            if not verdicts:
                raise JudgeError(stopped or f"{judge.name}: no verdict on any pair")
            judged.append(Judged(judge.name, judge.prompt_version, tuple(verdicts), len(pairs)))
    return judged, stopped


def _judge(
    judge: Judge, pairs: Sequence[Pair], file: VerdictFile, found: list[Verdict], *, anew: bool
) -> None:
    """Add the verdicts of one judge to ``found``: those that are there, and then those that are missing."""
    found += [] if anew else file.settled(judge, pairs)
    settled = {verdict.pair_id for verdict in found}
    missing = [pair for pair in pairs if pair.pair_id not in settled]
    total = sum(len(judge.orders(pair)) for pair in missing)
    with Counter(f"verdicts of {judge.name}", total) as counter:
        for verdict in file.add(judge.judge(missing) if missing else ()):
            found.append(verdict)
            counter.add(1)
    if isinstance(judge, HumanJudge) and judge.left_out:
        sys.stderr.write(
            f"{judge.name}: verdicts left out: {judge.left_out} (on other prompts, or on other answers)\n"
        )


def _say_how_to_go_on(verdicts: Path, again: Sequence[str]) -> None:
    kept = f"what was judged is in {verdicts}" if verdicts.exists() else "nothing was judged yet"
    sys.stderr.write(
        f"stopped: {kept}; to go on:\n  python -m lightning_marlhf {shlex.join(again)}\n"
    )


def _say_spent(budget: Budget) -> None:
    if not budget.calls:
        return
    tokens = budget.tokens
    dollars = f", {budget.usd:.4f} dollars" if budget.usd else ""
    sys.stderr.write(
        f"{budget.calls} requests: {tokens['prompt_tokens']:,} tokens of prompts, "
        f"{tokens['completion_tokens']:,} of replies{dollars}\n"
    )


def _report(
    options: argparse.Namespace, pairs: Sequence[Pair], judged: Sequence[Judged], stopped: str
) -> int:
    from lightning_marlhf.evaluation import win_rate_report

    report = win_rate_report.make(judged, pairs, seed=options.seed)
    settings = {
        "a": str(options.a),
        "b": str(options.b),
        "task": options.task,
        "n": options.n,
        "orders": options.orders,
        "seed": options.seed,
        "preset": options.preset,
    }
    report.write(options.out / RESULTS, options.out / PAGE, settings)
    for line in report.lines(settings):
        sys.stdout.write(f"{line}\n")
    problems = [*([stopped] if stopped else []), *win_rate_report.problems(judged)]
    for problem in problems:
        sys.stderr.write(f"error: {printable(problem, keep='')}\n")
    return 1 if problems else 0
