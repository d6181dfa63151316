"""`win-rate`: how often judges prefer the responses of one file of completions to those of another."""

import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from lightning_marlhf.commands import errors
from lightning_marlhf.commands.export import export_checkpoint
from lightning_marlhf.config.options import ConfigError, read_options
from lightning_marlhf.display.text import printable
from lightning_marlhf.evaluation.judges import JudgeError
from lightning_marlhf.evaluation.judges.budget import Budget
from lightning_marlhf.evaluation.judges.options import JudgeOptions, make_judge, make_language_model
from lightning_marlhf.evaluation.pairs import Pair, draw, read_pairs
from lightning_marlhf.evaluation.run_judges import Judged, VerdictLog, judge_pairs
from lightning_marlhf.files import read_json
from lightning_marlhf.ranges import PositiveInt

VERDICTS_FILE, RESULTS_FILE, PAGE_FILE = "verdicts.jsonl", "win_rate.json", "win_rate.md"
_PRESETS: dict[str | None, dict[str, Any]] = {
    None: {"num_prompts": None, "orders": "both", "seed": 0},
    "paper": {"num_prompts": 50, "orders": "one", "seed": 42},
}


@dataclass(frozen=True, kw_only=True)
class WinRateOptions(JudgeOptions):
    """Compare the responses of two models to the same prompts by one or several judges.

    Reports the win rate of a with confidence intervals, and diagnostics of position and length bias.

    Args:
        a: JSONL with `prompt` and `response`, as generate and runs write it.
        b: The file to compare with.
        out: Folder of the verdicts, which are kept as they come, and of the results; rerun to resume.
        overwrite: Overwrite --out; cached replies are kept.
        num_prompts: Number of prompts to judge, drawn by --seed (default: all).
        preset: Defaults of other options. paper: 50 prompts (TL;DR: stratified by subreddit), one order, seed 42.
    """

    a: Path
    b: Path
    out: Path | None = None
    overwrite: bool = False
    num_prompts: PositiveInt | None = None
    preset: Literal["paper"] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.out is None and not self.dry_run:
            raise ConfigError("--out is missing: the folder of the verdicts")

    @property
    def folder(self) -> Path:
        """The output folder."""
        assert self.out is not None
        return self.out

    @property
    def settings(self) -> dict[str, Any]:
        """The settings recorded with the results."""
        names = ("task", "num_prompts", "orders", "seed", "preset")
        files = {"a": str(self.a), "b": str(self.b)}
        return files | {name: getattr(self, name) for name in names}


def main(arguments: Sequence[str]) -> int:
    """Compare two files of completions; see `win-rate --help`."""

    def run() -> int:
        options = read_options(WinRateOptions, arguments[1:], command="win-rate")
        preset = _PRESETS[options.preset]
        unset = {name: value for name, value in preset.items() if getattr(options, name) is None}
        return _run(replace(options, **unset), arguments)

    return errors.call(run)


def _run(options: WinRateOptions, arguments: Sequence[str]) -> int:
    stratified = options.preset == "paper" and options.task == "tldr"
    pairs = draw(
        read_pairs(options.a, options.b).pairs, options.num_prompts, seed=options.seed or 0, by_subreddit=stratified
    )
    budget = options.budget()
    if options.dry_run:
        _forecast(options, pairs, budget)
        return 0
    _prepare_folder(options)
    verdicts = options.folder / VERDICTS_FILE
    try:
        with errors.resumable(str(verdicts), arguments), VerdictLog(verdicts) as log:
            judged = _judge_all(options, pairs, log, budget)
    except JudgeError as error:
        kept = f"; {verdicts} keeps what was judged: rerun to resume" if verdicts.exists() else ""
        raise JudgeError(f"{error}{kept}") from error
    if budget.calls:
        dollars = f", {budget.usd:.4f} dollars" if budget.usd else ""
        sys.stderr.write(
            f"{budget.calls} requests: {budget.tokens['prompt_tokens']:,} tokens of prompts, "
            f"{budget.tokens['completion_tokens']:,} of replies{dollars}\n"
        )
    return _report(options, pairs, judged)


def _judge_all(options: WinRateOptions, pairs: Sequence[Pair], log: VerdictLog, budget: Budget) -> list[Judged]:
    judged = []
    for spec in options.judge:
        with ExitStack() as stack:
            judge = make_judge(spec, options, budget=budget, stack=stack, exporter=export_checkpoint)
            judged.append(judge_pairs(judge, pairs, log, ignore_log=options.reparse))
    return judged


def _forecast(options: WinRateOptions, pairs: Sequence[Pair], budget: Budget) -> None:
    """Print what judging would cost."""
    sys.stdout.write(f"{len(pairs)} pairs\n")
    for spec in options.judge:
        if not spec.startswith("openai:"):
            sys.stdout.write(printable(f"{spec}: no requests\n"))
            continue
        with ExitStack() as stack:
            judge = make_language_model(spec, options, budget=budget, stack=stack)
            found = judge.forecast(pairs)
        tokens = {"prompt_tokens": found.prompt_tokens, "completion_tokens": found.completion_tokens}
        cost = f", at most {budget.price.of(tokens):.2f} dollars" if options.price else ""
        sys.stdout.write(
            f"{judge.name}: {found.calls} requests, {found.cached} in the cache, {found.identical} ties of identical "
            f"responses; about {found.prompt_tokens:,} tokens of prompts, at most {found.completion_tokens:,} of "
            f"replies{cost}\n"
        )


def _prepare_folder(options: WinRateOptions) -> None:
    """Refuse the folder of another comparison, unless --overwrite is given."""
    out = options.folder
    if out.exists() and not out.is_dir():
        raise ConfigError(f"--out {out}: expected a folder, got a file")
    if options.overwrite:
        for name in (VERDICTS_FILE, RESULTS_FILE, PAGE_FILE):
            (out / name).unlink(missing_ok=True)
    if not (out / RESULTS_FILE).is_file():
        return
    there = read_json(out / RESULTS_FILE)
    for name in ("a", "b"):
        if there.get(name) != str(getattr(options, name)):
            raise ValueError(
                f"{out} holds another comparison ({name} is {there.get(name)}): give another --out, or --overwrite"
            )


def _report(options: WinRateOptions, pairs: Sequence[Pair], judged: Sequence[Judged]) -> int:
    from lightning_marlhf.evaluation import win_rate_report

    report = win_rate_report.make(judged, pairs, seed=options.seed or 0)
    report.write(options.folder / RESULTS_FILE, options.folder / PAGE_FILE, options.settings)
    for line in report.lines(options.settings):
        sys.stdout.write(f"{line}\n")
    problems = list(win_rate_report.problems(judged))
    for problem in problems:
        sys.stderr.write(f"error: {printable(problem, keep='')}\n")
    return 1 if problems else 0
