"""Win rates of MA-PPO over PPO by several judges, and how far the judges agree."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lightning_marlhf.display.blocks import Block, Cell, Note, Table
from lightning_marlhf.reporting.evaluations import judge_label, read_results
from lightning_marlhf.reporting.statistics import Estimate, t_interval
from lightning_marlhf.reporting.systems import NOT_FOUND, System, percentages
from lightning_marlhf.reporting.text import MISSING, number, with_interval

RESULTS = "win_rate.json"
_PAPER_JUDGES = {"openai": "gpt-4", "human": "human", "rm": "rm"}  # kind of judge -> the paper's


def blocks(systems: Sequence[System]) -> list[Block]:
    """Return the table of win rates and that of agreement."""
    rows = [line for system in systems for line in _rate_lines(system)]
    agreements = [line for system in systems for line in _agreement_lines(system)]
    if not rows:
        return [Note("No comparison has been judged yet.")]
    header = ("System", "Judge", "Paper (%)", "Win rate (%)", "Length-controlled (%)")
    caption = (
        "Wins and half of the ties, of all valid pairs. In brackets: the paper's confidence; ours as 95 % intervals"
        " over seeds, or a bootstrap over prompts where there is one seed. Longer wins: share of decided pairs in which"
        " the longer answer won."
    )
    table = Table(
        (*header, "Longer wins (%)", "Wins / ties / losses", "Invalid", "Seeds"),
        tuple(rows),
        caption,
        num_left=2,
        name="win_rates",
    )
    if not agreements:
        return [table]
    header = ("System", "Judges", "Paper (%)", "Same outcome (%)", "Kappa", "Pairs", "Seeds")
    caption = "Agreement of two judges, ties included; kappa: Cohen's, chance agreement taken out."
    return [table, Table(header, tuple(agreements), caption, num_left=2, name="agreement")]


def _rate_lines(system: System) -> Iterable[tuple[Cell, ...]]:
    """Return a line for each judge, or one that says which of the paper's judges is still missing."""
    found = _by_judge(system)
    for judge, results in found.items():
        paper = _PAPER_JUDGES.get(judge.partition(":")[0], "")
        totals = (sum(int(r[name]) for r in results) for name in ("wins", "ties", "losses"))
        yield (
            Cell(system.label),
            Cell(judge),
            system.paper("win_rate", paper, decimals=0),
            with_interval(_rate(results, "win_rate", "low", "high"), 1),
            with_interval(
                _rate(
                    results,
                    "length_controlled",
                    *(f"length_controlled_{e}" for e in ("low", "high")),
                ),
                1,
            ),
            Cell(number(_rate(results, "longer_wins").mean, 1)),
            Cell(" / ".join(map(str, totals))),
            Cell(str(sum(int(r["invalid"]) for r in results))),
            Cell(str(len(results))),
        )
    kinds = {judge.partition(":")[0] for judge in found}
    for kind in ("openai", "human"):
        if kind not in kinds and system.reported is not None:
            paper = system.paper("win_rate", _PAPER_JUDGES[kind], decimals=0)
            blank = [Cell(MISSING)] * 5
            yield (Cell(system.label), Cell(_PAPER_JUDGES[kind]), paper, *blank, Cell("0"))


def _by_judge(system: System) -> dict[str, list[Mapping[str, Any]]]:
    found: dict[str, list[Mapping[str, Any]]] = {}
    for results in read_results(system, RESULTS).values():
        for rate in (rate for result in results for rate in result["judges"]):
            found.setdefault(judge_label(rate["judge"]), []).append(rate)
    return found


def _rate(results: Sequence[Mapping[str, Any]], name: str, *ends: str) -> Estimate:
    """Return a rate in per cent, over seeds; of one seed with the interval that it left."""
    shares = [result[name] for result in results if result[name] is not None]
    return percentages(shares, [results[0][end] for end in ends] if len(results) == 1 else ())


def _agreement_lines(system: System) -> Iterable[tuple[Cell, ...]]:
    found: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for results in read_results(system, RESULTS).values():
        for each in (each for result in results for each in result["agreement"]):
            pair = (judge_label(each["first"]), judge_label(each["second"]))
            found.setdefault(pair, []).append(each)
    for pair, results in found.items():
        kappas = [r["kappa"] for r in results if r["kappa"] is not None]
        yield (
            Cell(system.label),
            Cell(" and ".join(pair)),
            _paper_agreement(system, pair),
            with_interval(_rate(results, "raw", "low", "high"), 1),
            Cell(number(t_interval(kappas).mean, 2)),
            Cell(str(sum(int(r["pairs"]) for r in results))),
            Cell(str(len(results))),
        )


def _paper_agreement(system: System, pair: Sequence[str]) -> Cell:
    judges = [_PAPER_JUDGES.get(judge.partition(":")[0], judge) for judge in pair]
    there = [
        system.paper("agreement", f"{a} and {b}", decimals=0) for a, b in (judges, judges[::-1])
    ]
    return next((cell for cell in there if cell.value != NOT_FOUND), there[0])
