"""The table that `grade` prints: problems solved, tests passed and what went wrong, overall and by difficulty."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from lightning_marlhf.display.columns import align
from lightning_marlhf.display.text import printable
from lightning_marlhf.evaluation.pass_at_k import PassAtK
from lightning_marlhf.records import GradedProgram
from lightning_marlhf.sandbox.verdicts import ProgramVerdict

_USUAL = ("introductory", "interview", "competition")  # APPS' names, the easiest first


class _Sample(NamedTuple):
    problem: str
    number: int
    passed: int
    total: int
    verdict: ProgramVerdict


def summarize(rows: Iterable[GradedProgram], ks: Sequence[int]) -> Iterator[str]:
    """Yield the lines of the table.

    Args:
        rows: Results, at least one.
        ks: Values of k for pass@k, each at most the number of samples of any problem.
    """
    every: list[_Sample] = []
    by_difficulty: dict[str, list[_Sample]] = {}
    conditions: set[str] = set()
    for row in rows:
        total = row.passed + row.failed
        sample = _Sample(str(row.problem_id), row.sample, row.passed, total, ProgramVerdict(row.verdict))
        every.append(sample)
        by_difficulty.setdefault(row.difficulty, []).append(sample)
        conditions.add(f"match {row.match}, isolation level {row.isolation}")
    columns = [{"": "all"} | _cells(every, ks)]
    columns += [
        {"": printable(name, keep="") or "(no difficulty)"} | _cells(by_difficulty[name], ks)
        for name in sorted(by_difficulty, key=_by_ease)
    ]
    yield from align([[label, *(column[label] for column in columns)] for label in columns[0]])
    yield f"{'; '.join(sorted(conditions))}. In brackets: 95 % intervals over problems."
    yield "Verdicts: fraction of samples, by the first failure."


def _by_ease(difficulty: str) -> tuple[int, str]:
    return (_USUAL.index(difficulty) if difficulty in _USUAL else len(_USUAL), difficulty)


def _cells(samples: Sequence[_Sample], ks: Sequence[int]) -> dict[str, str]:
    """Write one column of the table, by the labels of its lines."""
    metric = PassAtK(ks=ks)
    metric.update(
        [each.problem for each in samples],
        [""] * len(samples),
        samples=[each.number for each in samples],
        passed=[each.passed for each in samples],
        total=[each.total for each in samples],
    )
    numbers = metric.compute()
    verdicts = Counter(each.verdict for each in samples)
    pass_at_k = {f"pass@{k}": _with_interval(numbers, f"pass@{k}") for k in ks}
    return {
        "problems": f"{numbers['num_problems']:,}",
        "samples": f"{numbers['num_samples']:,}",
        **pass_at_k,
        "test-case average": _with_interval(numbers, "test_case_average"),
        **{each.value: _percent(verdicts[each] / len(samples)) for each in ProgramVerdict},
    }


def _with_interval(numbers: Mapping[str, float], name: str) -> str:
    mean = _percent(numbers[name])
    if numbers["num_problems"] < 2:
        return mean
    return f"{mean} ({100 * numbers[f'{name}_low']:.1f} to {100 * numbers[f'{name}_high']:.1f})"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
