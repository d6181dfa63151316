"""APPS: programming problems with reference programs and tests (codeparrot/apps)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from lightning_marlhf.data.base import Stage
from lightning_marlhf.data.reading import Reader, TextRow
from lightning_marlhf.data.source import HubData
from lightning_marlhf.data.text import TextData
from lightning_marlhf.ranges import PositiveInt, checked
from lightning_marlhf.tasks import apps


@dataclass(frozen=True)
class ProblemReader:
    """Reads problems for a stage.

    Attributes:
        stage: what the problems are for.
        every_solution: demonstrate every known program, not the first alone.
    """

    stage: Stage
    every_solution: bool

    def __call__(self, row: Mapping[str, Any]) -> TextRow:
        """Read one problem; its reference holds what tests and reports need, the tests as they are stored."""
        problem = apps.problem(row)
        return TextRow(
            prompt=problem.prompt,
            answers=problem.solutions if self.every_solution else problem.solutions[:1],
            post=problem.post,
            unusable=self._problem_with(problem),
            reference=apps.reference(row),
        )

    def _problem_with(self, problem: apps.Problem) -> str:
        column, known = (
            ("solutions", problem.solutions)
            if self.stage == "sft"
            else ("input_output", problem.tests)
        )
        if column in problem.malformed:
            return f"{column} cannot be parsed"
        return "" if known else f"no {column}"


@checked
class APPS(TextData):
    """Programming problems: the reference programs are to imitate, the tests score what the policy writes.

    The paper's runs: a fifth of the training problems for SFT, the others for PPO; no reward model. How they were drawn
    is not said; here as everywhere, by the released code's shuffle with seed 1234.

    Args:
        source: a Hub id, or a folder or file with rows of the same columns (``question``, ``solutions``, ...).
        solutions: for SFT "all" known programs of a problem, or "one".
        max_prompt_length: longer prompts are dropped and counted.
        phases: shares of the training problems for SFT and PPO.
        **settings: of `TextData`.
    """

    name = "apps"
    hub = HubData(apps.HUB_ID, apps.HUB_ROWS)
    phase_of_stage: ClassVar[dict[str, int]] = {"sft": 0, "ppo": 1}
    shuffled_evaluation = False

    def __init__(
        self,
        *,
        source: str = apps.HUB_ID,
        solutions: Literal["all", "one"] = "all",
        max_prompt_length: PositiveInt = 600,
        phases: str = "2,8",
        **settings: Any,
    ) -> None:
        super().__init__(
            source=source, max_prompt_length=max_prompt_length, phases=phases, **settings
        )
        self.solutions = solutions

    def reader(self) -> Reader:
        """Read problems."""
        return ProblemReader(self.stage, every_solution=self.solutions == "all")
