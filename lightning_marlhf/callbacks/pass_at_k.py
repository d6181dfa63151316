"""Logs pass@k on held-out problems, with sample failures."""

import json
import math
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lightning.pytorch import LightningModule, Trainer

from lightning_marlhf.callbacks.rollouts import HeldOutCallback, experience_of
from lightning_marlhf.display.text import code_block
from lightning_marlhf.evaluation.pass_at_k import PassAtK
from lightning_marlhf.loggers.tensorboard import add_texts
from lightning_marlhf.ranges import NonNegativeInt, PositiveInt, checked
from lightning_marlhf.types import Experience

_LONGEST_PROGRAM = 2_000  # characters of a failure that are shown


@dataclass(frozen=True)
class _Sample:
    """A program and how its tests went."""

    sample_id: str
    problem_id: str
    difficulty: str
    program: str
    passed: int
    total: int
    kind: str


@checked
class PassAtKCallback(HeldOutCallback):
    """Logs `eval/pass_at_1`, `eval/test_case_average`, ... of held-out problems.

    The problems are those of validation and test, the same every time, sharded over ranks. `trainer.val_check_interval`
    sets how often, the data's `samples_per_prompt` how many programs a problem gets; a k above that is not logged. Each
    number is logged with its interval (`_low`, `_high`: 95 %, bootstrap over problems) and by difficulty
    (`/interview`). TensorBoard shows some failures as text. Runs without programs log nothing.

    Args:
        ks: values of k.
        scorer: name of the scorer that runs the tests, as in its `init_args.name`.
        num_failures: number of programs shown, each of another problem.
    """

    def __init__(
        self, *, ks: Sequence[PositiveInt] = (1, 5, 10, 100), scorer: str = "code", num_failures: NonNegativeInt = 8
    ) -> None:
        self.scorer = scorer
        self.num_failures = num_failures
        self.metric = PassAtK(ks)
        self._failures: dict[str, _Sample] = {}

    def begin(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Reset the metric."""
        self.metric.reset()
        self.metric.to(pl_module.device)
        self._failures = {}

    def collect(self, trainer: Trainer, pl_module: LightningModule, outputs: Any) -> None:
        """Count the programs of a batch."""
        experience = experience_of(outputs)
        samples = [] if experience is None else list(_samples(experience, self.scorer))
        if not samples:
            return
        self.metric.update(
            [sample.problem_id for sample in samples],
            [sample.difficulty for sample in samples],
            samples=[zlib.crc32(sample.sample_id.encode()) for sample in samples],
            passed=[sample.passed for sample in samples],
            total=[sample.total for sample in samples],
        )
        for sample in samples:
            if sample.passed < sample.total and len(self._failures) < self.num_failures:
                self._failures.setdefault(sample.problem_id, sample)

    def finish(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the metrics over all ranks."""
        if not self.metric.update_called:
            return
        numbers = self.metric.compute()
        pl_module.log_metrics(  # type: ignore[operator]
            {f"eval/{name.replace('@', '_at_')}": number for name, number in numbers.items()}
        )
        add_texts(trainer, "failures", [_as_markdown(each) for each in self._failures.values()])


def _samples(experience: Experience, scorer: str) -> Iterator[_Sample]:
    """Find the rows that are programs with tests."""
    prompts = experience.rollout.prompts
    share, kinds = f"{scorer}_tests", f"{scorer}_"
    for row, details in enumerate(experience.details):
        reference = prompts.references[row]
        if not isinstance(reference, Mapping) or math.isnan(details.get(share, math.nan)):
            continue
        total = len(json.loads(reference["input_output"])["inputs"])
        yield _Sample(
            sample_id=prompts.sample_ids[row],
            problem_id=str(reference["problem_id"]),
            difficulty=str(reference.get("difficulty") or ""),
            program=experience.rollout.texts[row],
            passed=round(details[share] * total),
            total=total,
            kind=next(
                (
                    name.removeprefix(kinds)
                    for name, value in details.items()
                    if name.startswith(kinds) and name != share and value == 1
                ),
                "",
            ),
        )


def _as_markdown(sample: _Sample) -> str:
    """Show a failure."""
    code = code_block(sample.program[:_LONGEST_PROGRAM])
    return f"problem {sample.problem_id}: {sample.kind}, {sample.passed} of {sample.total} tests\n\n{code}"
