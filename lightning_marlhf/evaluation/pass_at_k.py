"""pass@k (Chen et al. 2021, arXiv 2107.03374, eq. 1) and APPS' metrics, from counts of tests passed.

Sampling, extracting and running programs is not done here. Problems without tests must be left out: they are neither
solved nor unsolved.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from lightning_marlhf.evaluation.bootstrap import column_means_interval
from lightning_marlhf.ranges import PositiveInt, checked

_NAME_BYTES = 32  # of a difficulty's name, which is gathered over ranks as that many bytes


def pass_at_k(
    num_samples: Int[Tensor, "*problem"], num_correct: Int[Tensor, "*problem"], k: int
) -> Float[Tensor, "*problem"]:
    """Estimate without bias the probability that at least one of k samples is correct.

    1 - C(n - c, k) / C(n, k), as a product of k factors, so that nothing overflows.

    Args:
        num_samples: Number of samples of each problem, n; at least k.
        num_correct: Number of correct samples of each problem, c.
        k: Number of samples drawn.

    Raises:
        ValueError: k is below 1 or above n, or c is not between 0 and n.

    >>> pass_at_k(torch.tensor([4, 4, 4]), torch.tensor([0, 1, 3]), k=2).tolist()  # 1 - 3/6, 1 - 0/6
    [0.0, 0.5, 1.0]
    """
    if k < 1 or (num_samples < k).any():
        raise ValueError(f"k is {k}, samples are {num_samples.tolist()}: expected k from 1 to each")
    if ((num_correct < 0) | (num_correct > num_samples)).any():
        raise ValueError(f"{num_correct.tolist()} correct of {num_samples.tolist()}: expected from 0 to all")
    drawn = torch.arange(k, dtype=torch.float64, device=num_samples.device)
    wrong = (num_samples - num_correct)[..., None]
    # a factor is 0 if fewer than k are wrong
    all_wrong = ((wrong - drawn) / (num_samples[..., None] - drawn)).prod(dim=-1)
    return 1 - all_wrong


@checked
class PassAtK(Metric):
    """pass@k and APPS' metrics, overall and by difficulty.

    ``compute`` returns these, overall and as ``name/difficulty``; all but the counts also as ``name_low`` and
    ``name_high``, the ends of a 95 % interval over problems (see `bootstrap.column_means_interval`):

    - ``pass@k`` for each k that every problem has samples for;
    - ``strict_accuracy``: fraction of samples that pass all tests, mean over problems; the same as pass@1;
    - ``test_case_average``: fraction of tests passed, mean over samples, then over problems;
    - ``num_problems`` and ``num_samples``.

    A sample of a problem counts once, however often it arrives: distributed samplers repeat some to be even.

    Args:
        ks: Values of k.
        resamples: Number of bootstrap resamples.
        seed: Seed of the bootstrap.
        **settings: Settings of torchmetrics' `Metric`.

    >>> metric = PassAtK(ks=(1, 2, 5))
    >>> metric.update(["7", "7", "8", "8"], ["interview"] * 4, samples=[0, 1, 0, 1], passed=[2, 1, 0, 2], total=[2] * 4)
    >>> numbers = metric.compute()
    >>> numbers["pass@1"], numbers["pass@2/interview"], numbers["test_case_average"]
    (0.5, 1.0, 0.625)
    >>> metric.left_out
    (5,)
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False

    problems: list[Tensor]
    difficulties: list[Tensor]
    samples: list[Tensor]
    passed: list[Tensor]
    total: list[Tensor]

    def __init__(
        self,
        ks: Sequence[PositiveInt] = (1, 5, 10, 100),
        *,
        resamples: PositiveInt = 1_000,
        seed: int = 0,
        **settings: Any,
    ) -> None:
        super().__init__(**settings)
        if not ks:
            raise ValueError("ks: expected at least one, got none")
        self.ks = tuple(ks)
        self.resamples = resamples
        self.seed = seed
        self.left_out: tuple[int, ...] = ()  # ks without result in the last ``compute``: a problem has fewer samples
        for state in ("problems", "difficulties", "samples", "passed", "total"):
            self.add_state(state, default=[], dist_reduce_fx="cat")
        self.set_dtype(torch.int64)  # dtype that torchmetrics gathers from a rank without samples

    def update(
        self,
        problems: Sequence[str],
        difficulties: Sequence[str],
        *,
        samples: Sequence[int],
        passed: Sequence[int],
        total: Sequence[int],
    ) -> None:
        """Add samples.

        Args:
            problems: Name of each sample's problem.
            difficulties: Difficulty of that problem; "": unknown, counted in the overall numbers alone.
            samples: Number of the sample within its problem.
            passed: Number of tests that it passed.
            total: Number of tests of the problem.

        Raises:
            ValueError: The lengths differ, a count of tests is impossible, or a difficulty's name is too long.
        """
        if not len(problems) == len(difficulties) == len(samples) == len(passed) == len(total):
            raise ValueError(
                f"{len(problems)} problems, {len(difficulties)} difficulties, {len(samples)} samples, {len(passed)} "
                f"passed, {len(total)} total: expected as many of each"
            )
        for right, tests in zip(passed, total, strict=True):
            if not 0 <= right <= tests or tests < 1:
                raise ValueError(f"{right} of {tests} tests passed: expected at least one test, and from 0 to all")
        self.problems.append(self._column([_number(problem) for problem in problems]))
        self.difficulties.append(self._column([n for name in difficulties for n in _pack(name)]))
        self.samples.append(self._column(samples))
        self.passed.append(self._column(passed))
        self.total.append(self._column(total))

    def compute(self) -> dict[str, float]:
        """Compute the metrics over all ranks; see the class for their names."""
        problems = self._by_problem()
        fewest = int(problems.num_samples.min())
        self.left_out = tuple(k for k in self.ks if k > fewest)
        numbers = self._numbers(problems)
        for difficulty in sorted({*problems.difficulties} - {""}):
            part = self._numbers(problems.of(difficulty))
            numbers |= {f"{name}/{difficulty}": number for name, number in part.items()}
        return numbers

    def _column(self, numbers: Sequence[int]) -> Tensor:
        return torch.tensor(numbers, dtype=torch.int64, device=self.device)

    def _by_problem(self) -> "_Problems":
        """Count each problem's samples once, in an order that does not depend on that of their arrival."""
        numbers, samples = _gathered(self.problems), _gathered(self.samples)
        rows = _group_rows(torch.stack([numbers, samples], dim=1)).positions
        problem = _group_rows(numbers[rows, None])
        passed, total = _gathered(self.passed)[rows], _gathered(self.total)[rows]
        num_samples = problem.sums(torch.ones_like(passed))
        names = _gathered(self.difficulties).view(len(numbers), -1)[rows][problem.positions]
        return _Problems(
            num_samples=num_samples,
            num_correct=problem.sums(passed == total),
            test_case_average=problem.sums(passed / total.double()) / num_samples,
            difficulties=tuple(map(_unpack, names)),
        )

    def _numbers(self, problems: "_Problems") -> dict[str, float]:
        num_samples, num_correct = problems.num_samples, problems.num_correct
        values = {f"pass@{k}": pass_at_k(num_samples, num_correct, k) for k in self.ks if k not in self.left_out}
        values["strict_accuracy"] = num_correct / num_samples.double()
        values["test_case_average"] = problems.test_case_average
        columns = torch.stack([*values.values()], dim=1)
        ends = column_means_interval(columns, resamples=self.resamples, seed=self.seed)
        numbers = {}
        for name, mean, low, high in zip(values, columns.mean(dim=0).tolist(), *ends.tolist(), strict=True):
            numbers |= {name: mean, f"{name}_low": low, f"{name}_high": high}
        return numbers | {"num_problems": len(columns), "num_samples": int(num_samples.sum())}


@dataclass(frozen=True)
class _Problems:
    """Counts of each problem's samples."""

    num_samples: Int[Tensor, " problem"]
    num_correct: Int[Tensor, " problem"]
    test_case_average: Float[Tensor, " problem"]
    difficulties: tuple[str, ...]

    def of(self, difficulty: str) -> "_Problems":
        """Select the problems of one difficulty."""
        kept = torch.tensor([each == difficulty for each in self.difficulties])
        return _Problems(
            num_samples=self.num_samples[kept],
            num_correct=self.num_correct[kept],
            test_case_average=self.test_case_average[kept],
            difficulties=(difficulty,) * int(kept.sum()),
        )


@dataclass(frozen=True)
class _Groups:
    """Groups of equal rows, in the order of their content."""

    group: Int[Tensor, " row"]  # group of each row
    positions: Int[Tensor, " group"]  # first row of each group

    def sums(self, values: Tensor) -> Tensor:
        """Sum within each group."""
        values = values.to(torch.float64 if values.is_floating_point() else torch.int64)
        return values.new_zeros(len(self.positions)).index_add(0, self.group, values)


def _group_rows(rows: Int[Tensor, "row column"]) -> _Groups:
    """Group equal rows.

    >>> groups = _group_rows(torch.tensor([[9], [5], [9]]))
    >>> groups.group.tolist(), groups.positions.tolist()
    ([1, 0, 1], [1, 0])
    """
    distinct, group = torch.unique(rows, dim=0, return_inverse=True)
    positions = torch.full((len(distinct),), len(rows))
    return _Groups(group, positions.scatter_reduce(0, group, torch.arange(len(rows)), "amin"))


def _gathered(state: list[Tensor] | Tensor) -> Tensor:
    return dim_zero_cat(state).cpu()


def _number(problem: str) -> int:
    """Hash a problem's name, to the same number on every rank; two of 10,000 collide in 3 of 10^12 cases."""
    return int.from_bytes(hashlib.sha256(problem.encode()).digest()[:8], signed=True)


def _pack(name: str) -> list[int]:
    """Pack a name into integers, which ranks can gather.

    >>> _unpack(torch.tensor(_pack("interview")))
    'interview'
    """
    packed = name.encode()
    if len(packed) > _NAME_BYTES:
        raise ValueError(f"difficulty is {name!r}: expected at most {_NAME_BYTES} bytes")
    packed = packed.ljust(_NAME_BYTES, b"\0")
    return [int.from_bytes(packed[at : at + 8], signed=True) for at in range(0, _NAME_BYTES, 8)]


def _unpack(numbers: Int[Tensor, " 4"]) -> str:
    packed = b"".join(number.to_bytes(8, signed=True) for number in numbers.tolist())
    return packed.rstrip(b"\0").decode()
