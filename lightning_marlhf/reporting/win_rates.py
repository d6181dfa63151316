"""Win rates of MA-PPO over PPO by several judges, and how far the judges agree."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lightning_marlhf.display.document import Block, Cell, Note
from lightning_marlhf.display.text import number
from lightning_marlhf.reporting.layout import NOT_FOUND, make_table, paper_cell
from lightning_marlhf.reporting.load import System
from lightning_marlhf.reporting.statistics import Estimate, percentages, t_interval

_RESULTS = "win_rate.json"
_PAPER_JUDGES = {"openai": "gpt-4", "human": "human", "rm": "rm"}  # kind of judge -> the paper's
_OF_A_JUDGE = (
    *("judge", "wins", "ties", "losses", "invalid", "win_rate", "low", "high", "longer_wins"),
    *("length_controlled", "length_controlled_low", "length_controlled_high"),
)
_OF_TWO_JUDGES = ("first", "second", "raw", "low", "high", "kappa", "pairs")
Rate = Mapping[str, Any]


class Results(NamedTuple):
    """Contents of `win_rate.json`."""

    judges: list[Rate]
    agreement: list[Rate]


def _read(content: Mapping[str, Any]) -> Results:
    return Results(
        [{name: rate[name] for name in _OF_A_JUDGE} for rate in content["judges"]],
        [{name: each[name] for name in _OF_TWO_JUDGES} for each in content["agreement"]],
    )


def win_rates(systems: Sequence[System]) -> list[Block]:
    """Return the table of win rates and that of agreement; nothing of systems without evaluations."""
    caption = (
        "Wins and half of the ties, of all valid pairs. In brackets: the paper's confidence; ours as 95 % intervals"
        " over seeds, or a bootstrap over prompts for one seed. Longer wins: fraction of decided pairs in"
        " which the longer response won."
    )
    rates = [(s, line) for s in systems for line in _rate_lines(s)]
    table = make_table(rates, caption, name="win_rates")
    if table is None:
        evaluated = any(system.spec.evaluations for system in systems)
        return [Note("No comparison has been judged yet.")] if evaluated else []
    caption = "Agreement of two judges, ties included; kappa: Cohen's, corrected for chance."
    pairs = [(s, line) for s in systems for line in _agreement_lines(s)]
    agreement = make_table(pairs, caption, name="agreement")
    return [table, *([agreement] if agreement else [])]


def _rate_lines(system: System) -> Iterable[dict[str, Cell]]:
    """Return a line for each judge, or one that says which of the paper's judges is still missing."""
    found = _by_judge(system)
    for judge, results in found.items():
        ends = [f"length_controlled_{end}" for end in ("low", "high")]
        totals = (sum(int(r[name]) for r in results) for name in ("wins", "ties", "losses"))
        reported = _PAPER_JUDGES.get(judge.partition(":")[0], "")
        yield {
            "Judge": Cell(judge),
            "Paper (%)": paper_cell(system, "win_rate", reported, decimals=0),
            "Win rate (%)": _rate(results, "win_rate", "low", "high").cell(1),
            "Length-controlled (%)": _rate(results, "length_controlled", *ends).cell(1),
            "Longer wins (%)": Cell(number(_rate(results, "longer_wins").mean, 1)),
            "Wins / ties / losses": Cell(" / ".join(map(str, totals))),
            "Invalid": Cell(str(sum(int(r["invalid"]) for r in results))),
            "Seeds": Cell(str(len(results))),
        }
    kinds = {judge.partition(":")[0] for judge in found}
    for kind in ("openai", "human"):
        if kind not in kinds and system.spec.reported is not None:
            cell = paper_cell(system, "win_rate", _PAPER_JUDGES[kind], decimals=0)
            yield {"Judge": Cell(_PAPER_JUDGES[kind]), "Paper (%)": cell, "Seeds": Cell("0")}


def _by_judge(system: System) -> dict[str, list[Rate]]:
    found: dict[str, list[Rate]] = {}
    for results in system.evaluations(_RESULTS, _read).values():
        for rate in (rate for result in results for rate in result.judges):
            found.setdefault(judge_label(rate["judge"]), []).append(rate)
    return found


def _rate(results: Sequence[Rate], name: str, *ends: str) -> Estimate:
    """Return a rate in per cent, over seeds; of one seed with the interval that it left."""
    shares = [result[name] for result in results if result[name] is not None]
    return percentages(shares, [results[0][end] for end in ends] if len(results) == 1 else ())


def _agreement_lines(system: System) -> Iterable[dict[str, Cell]]:
    found: dict[tuple[str, str], list[Rate]] = {}
    for results in system.evaluations(_RESULTS, _read).values():
        for each in (each for result in results for each in result.agreement):
            pair = (judge_label(each["first"]), judge_label(each["second"]))
            found.setdefault(pair, []).append(each)
    for pair, results in found.items():
        kappas = [r["kappa"] for r in results if r["kappa"] is not None]
        yield {
            "Judges": Cell(" and ".join(pair)),
            "Paper (%)": _paper_agreement(system, pair),
            "Same outcome (%)": _rate(results, "raw", "low", "high").cell(1),
            "Kappa": Cell(number(t_interval(kappas).mean, 2)),
            "Pairs": Cell(str(sum(int(r["pairs"]) for r in results))),
            "Seeds": Cell(str(len(results))),
        }


def _paper_agreement(system: System, pair: Sequence[str]) -> Cell:
    judges = [_PAPER_JUDGES.get(judge.partition(":")[0], judge) for judge in pair]
    there = [paper_cell(system, "agreement", f"{a} and {b}", decimals=0) for a, b in (judges, judges[::-1])]
    return next((cell for cell in there if cell.value != NOT_FOUND), there[0])


def judge_label(judge: str) -> str:
    """Name a judge without the folder and the seed of a reward model.

    >>> judge_label("rm:runs/tldr/gemma-2b/reward_model/seed-1/export"), judge_label("openai:gpt-4o")
    ('rm: reward_model', 'openai: gpt-4o')
    """
    kind, colon, name = judge.partition(":")
    parts: Sequence[str] = [part for part in Path(name).parts if part != "export"]
    if kind == "rm":
        parts = [part for part in parts if not part.startswith("seed-")][-1:]
    return f"{kind}: {'/'.join(parts)}" if colon else kind
