"""The report of `win-rate`, written and printed: each judge's win rate, and the agreement of judges."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lightning_marlhf.display.columns import align
from lightning_marlhf.display.document import Block, Bullets, Section, Table, Text, cells
from lightning_marlhf.display.markdown import render_markdown
from lightning_marlhf.display.text import printable
from lightning_marlhf.evaluation import outcomes
from lightning_marlhf.evaluation.pairs import Pair
from lightning_marlhf.evaluation.run_judges import Judged
from lightning_marlhf.evaluation.win_rate import Agreement, agreement, pairwise, summarize
from lightning_marlhf.files import write_json, write_text
from lightning_marlhf.records import WinRate

MOST_INVALID = 0.05  # fraction of pairs, above which the other numbers cannot be trusted
_TRAINED_ON = "a reward model favours policies that were trained on it: judge by one that was held out"
_UNKNOWN = "n/a"


@dataclass(frozen=True)
class Report:
    """Win rates by each judge, and the agreement of every two."""

    rates: tuple[tuple[Judged, WinRate], ...]
    agreements: tuple[Agreement, ...]

    def write(self, results: Path, page: Path, settings: Mapping[str, Any]) -> None:
        """Write the numbers as JSON, and a page of Markdown."""
        judges = [
            {**rate.to_dict(), "judge": judged.judge, "prompt_version": judged.prompt_version}
            for judged, rate in self.rates
        ]
        agreements = [asdict(each) for each in self.agreements]
        write_json(results, {**settings, "judges": judges, "agreement": agreements})
        write_text(page, render_markdown("Win rate", self._sections(settings)))

    def lines(self, settings: Mapping[str, Any]) -> Iterator[str]:
        """Yield the lines that are printed."""
        yield printable(_compared(settings), keep="")
        for judged, rate in self.rates:
            yield ""
            yield printable(_headline(judged), keep="")
            yield from (f"  {line}" for line in align([*_labels(judged, rate).items()]))
            yield from (f"  ({printable(remark)})" for remark in _remarks(judged, rate))
        if self.agreements:
            yield ""
            yield "agreement (same outcome, ties included; Cohen's kappa)"
            yield from (f"  {printable(_agreement(each), keep='')}" for each in self.agreements)

    def _sections(self, settings: Mapping[str, Any]) -> list[Section]:
        sections = [Section("Compared", (Text(_compared(settings)),))]
        for judged, rate in self.rates:
            rows = tuple(cells(*row) for row in _labels(judged, rate).items())
            blocks: tuple[Block, ...] = (Table(("", ""), rows, num_left=2),)
            if remarks := _remarks(judged, rate):
                blocks += (Bullets(tuple(remarks)),)
            sections.append(Section(_headline(judged), blocks))
        if self.agreements:
            items = Bullets(tuple(map(_agreement, self.agreements)))
            sections.append(Section("Agreement", (items,)))
        return sections


def make(judged: Sequence[Judged], pairs: Sequence[Pair], *, seed: int) -> Report:
    """Compute each judge's win rate, and the agreement of every two judges and of the annotators in one file."""
    rates = tuple((each, summarize(each.verdicts, pairs, seed=seed)) for each in judged)
    found = {each.judge: outcomes.outcomes(each.verdicts) for each in judged}
    agreements = [
        agreement(found[one], found[two], names=(one, two), seed=seed) for one, two in itertools.combinations(found, 2)
    ]
    within = [pairwise(each.verdicts, seed=seed) for each in judged]
    return Report(rates, (*agreements, *itertools.chain.from_iterable(within)))


def problems(judged: Sequence[Judged]) -> Iterator[str]:
    """Yield errors: judges that stopped early, or whose verdicts are too often invalid."""
    yield from (each.stopped for each in judged if each.stopped)
    for each in judged:
        found = outcomes.outcomes(each.verdicts)
        invalid = len(found) - len(outcomes.valid(found))
        if invalid > MOST_INVALID * len(found):
            why = next(v.error for v in each.verdicts if v.winner == outcomes.INVALID)
            yield (
                f"{each.judge}: {invalid} of {len(found)} pairs are invalid, more than {MOST_INVALID:.0%} "
                f"(the first: {why or 'no reason given'}); what was judged is kept"
            )


def _compared(settings: Mapping[str, Any]) -> str:
    orders = "both orders" if settings["orders"] == "both" else "one order"
    return (
        f"a: {settings['a']}, b: {settings['b']}; task {settings['task']}, {orders}, seed {settings['seed']}. In "
        "brackets: 95 % intervals over prompts."
    )


def _headline(judged: Judged) -> str:
    return judged.judge + (f", asked {judged.prompt_version}" if judged.prompt_version else "")


def _labels(judged: Judged, rate: WinRate) -> dict[str, str]:
    of = "" if rate.pairs == judged.num_pairs else f" of {judged.num_pairs}"
    order = {"flips with the order": rate.flip_rate, "first shown wins": rate.first_position_rate}
    return {
        "win rate of a": _percent(rate.win_rate, rate.low, rate.high),
        "pairs": f"{rate.pairs}{of}",
        "wins / ties / losses": f"{rate.wins} / {rate.ties} / {rate.losses}",
        "invalid": str(rate.invalid),
        "wins of those decided": _percent(rate.decisive_rate, rate.wilson_low, rate.wilson_high),
        "sign test, p": _number(rate.sign_p, ".3g"),
        "length-controlled": _percent(rate.length_controlled, rate.length_controlled_low, rate.length_controlled_high),
        "longer response wins": _percent(rate.longer_wins),
        "mean length, a / b": f"{_number(rate.mean_length_a, '.0f')} / {_number(rate.mean_length_b, '.0f')} characters",
        **{label: _percent(rate) for label, rate in order.items() if rate is not None},
    }


def _remarks(judged: Judged, rate: WinRate) -> list[str]:
    return [*rate.remarks, *([_TRAINED_ON] if judged.judge.startswith("rm:") else [])]


def _agreement(found: Agreement) -> str:
    decisive = (
        f"; {_percent(found.decisive_raw)} of the {found.decisive_pairs} that both decide"
        if found.decisive_pairs
        else ""
    )
    return (
        f"{found.first} and {found.second}: {_percent(found.raw, found.low, found.high)} of {found.pairs} pairs, "
        f"kappa {_number(found.kappa, '.2f')}{decisive}"
    )


def _percent(value: float | None, low: float | None = None, high: float | None = None) -> str:
    if value is None:
        return _UNKNOWN
    ends = "" if low is None or high is None else f" ({100 * low:.1f} to {100 * high:.1f})"
    return f"{100 * value:.1f} %{ends}"


def _number(value: float | None, form: str) -> str:
    return _UNKNOWN if value is None else format(value, form)
