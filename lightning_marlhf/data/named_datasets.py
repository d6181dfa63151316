"""The paper's data sets: TL;DR, HH-RLHF, WebGPT and APPS; the formats of their rows are in `tasks`."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal

from lightning_marlhf.data.base import Stage
from lightning_marlhf.data.reading import PreferenceReader, Reader, TextRow
from lightning_marlhf.data.source import HubData
from lightning_marlhf.data.text_data import TextData
from lightning_marlhf.ranges import PositiveInt, checked
from lightning_marlhf.tasks import apps, hh_rlhf, tldr, webgpt


class TLDR(TextData):
    """Reddit posts (and a few news articles) with comparisons of two summaries.

    The paper's runs: ``split_by: row``, ``tokenize: joined``, phases 2,4,4 with seed 1234.

    Args:
        source: A Hub id, or a folder or file with rows of the same columns (``info``, ``summaries``, ``choice``).
        **settings: Other settings of `TextData`.
    """

    name = "tldr"
    hub = HubData(tldr.HUB_ID, tldr.HUB_ROWS, tldr.HUB_CONFIG)

    def __init__(self, *, source: str = tldr.HUB_ID, **settings: Any) -> None:
        super().__init__(source=source, **settings)

    def reader(self) -> Reader:
        """Read comparisons."""
        return PreferenceReader(tldr.preference, self.stage)


class HHRLHF(TextData):
    """Dialogues, helpful and harmless together; the response is the last reply.

    The paper's runs: ``split_by: row``, ``tokenize: joined``, phases 2,4,4 with seed 1234.

    Args:
        source: A Hub id, or a folder or file with ``prompt``, ``chosen`` and ``rejected``, or with the transcripts of
            anthropics/hh-rlhf (``chosen`` and ``rejected``, each with the full dialogue).
        **settings: Other settings of `TextData`.
    """

    name = "hh_rlhf"
    hub = HubData(hh_rlhf.HUB_ID, hh_rlhf.HUB_ROWS)

    def __init__(self, *, source: str = hh_rlhf.HUB_ID, **settings: Any) -> None:
        super().__init__(source=source, **settings)

    def reader(self) -> Reader:
        """Read comparisons."""
        return PreferenceReader(hh_rlhf.preference, self.stage)


class WebGPT(TextData):
    """Questions with two responses each, found by browsing the web.

    The paper's runs: ``split_by: row``, ``tokenize: joined``, ``ties: keep``, ``brackets: all``, phases 2,4,4 with seed
    1234 over 95 % of the rows; the other 5 % are held out. An existing validation split is kept.

    Args:
        source: A Hub id, or a folder or file with rows of the same columns (``question``, ``answer_0``, ...).
        ties: Pairs of equal scores in reward modelling: "drop" them, or "keep" the first response as the better one, as
            the paper's runs did.
        brackets: What is removed from responses: "citations" such as [1], or "all" text in round or square brackets, as
            in the paper's runs.
        **settings: Other settings of `TextData`.
    """

    name = "webgpt"
    hub = HubData(webgpt.HUB_ID, webgpt.HUB_ROWS)
    holds_out = True
    shuffled_evaluation = False

    def __init__(
        self,
        *,
        source: str = webgpt.HUB_ID,
        ties: Literal["drop", "keep"] = "drop",
        brackets: webgpt.Brackets = "citations",
        **settings: Any,
    ) -> None:
        super().__init__(source=source, **settings)
        self.ties = ties
        self.brackets = brackets

    def reader(self) -> Reader:
        """Read comparisons."""
        read = partial(webgpt.preference, brackets=self.brackets)
        return PreferenceReader(read, self.stage, drop_ties=self.ties == "drop")


@dataclass(frozen=True)
class ProblemReader:
    """Reads problems for a stage.

    Attributes:
        stage: Training stage that reads the problems.
        every_solution: Demonstrate every known program, not the first alone.
    """

    stage: Stage
    every_solution: bool

    def __call__(self, row: Mapping[str, Any]) -> TextRow:
        """Read one problem; its reference holds the tests (as stored) and the facts that reports need."""
        problem = apps.problem(row)
        return TextRow(
            prompt=problem.prompt,
            responses=problem.solutions if self.every_solution else problem.solutions[:1],
            group=problem.group,
            unusable=self._problem_with(problem),
            reference=apps.reference(row),
        )

    def _problem_with(self, problem: apps.Problem) -> str:
        column, known = ("solutions", problem.solutions) if self.stage == "sft" else ("input_output", problem.tests)
        if column in problem.malformed:
            return f"{column} cannot be parsed"
        return "" if known else f"no {column}"


@checked
class APPS(TextData):
    """Programming problems: reference programs for SFT, tests as the reward of PPO.

    The paper's runs: a fifth of the training problems for SFT, the others for PPO; no reward model. How they were drawn
    is not said; here as everywhere, by the released code's shuffle with seed 1234.

    Args:
        source: A Hub id, or a folder or file with rows of the same columns (``question``, ``solutions``, ...).
        solutions: "all" known programs of a problem for SFT, or "one".
        max_prompt_length: Longer prompts are dropped and counted.
        phases: Fractions of the training problems for SFT and PPO.
        **settings: Other settings of `TextData`.
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
        super().__init__(source=source, max_prompt_length=max_prompt_length, phases=phases, **settings)
        self.solutions = solutions

    def reader(self) -> Reader:
        """Read problems."""
        return ProblemReader(self.stage, every_solution=self.solutions == "all")
