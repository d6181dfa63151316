"""Tiny APPS as a DataModule: generated problems, noisy programs to imitate, and tests to be run."""

import json
from functools import cached_property
from random import Random

from torch.utils.data import Dataset
from transformers import PreTrainedTokenizerBase

from lightning_marlhf.data.base import RLHFDataModule, Split, Stage
from lightning_marlhf.data.collate import Collator
from lightning_marlhf.data.examples import Demonstration, PromptExample
from lightning_marlhf.data.tokenizers import piece_tokenizer
from lightning_marlhf.ranges import NonNegativeInt, PositiveInt, checked
from lightning_marlhf.tasks import tiny_apps
from lightning_marlhf.tasks.tiny_apps import Problem
from lightning_marlhf.types import SupervisedBatch


class TinyDemonstrations(Dataset[Demonstration]):
    """Noisy programs: row ``i`` is a function of the name and ``i`` alone, and shows a problem again with other noise.

    Args:
        problems: Problems, shown in turn.
        stream: Name of the stream; different names give independent noise.
        size: Number of rows.
    """

    def __init__(self, problems: tuple[Problem, ...], *, stream: str, size: int) -> None:
        self.problems = problems
        self.stream = stream
        self.size = size

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> Demonstration:
        if index >= self.size:
            raise IndexError(index)  # ends a `for` over the rows
        problem = self.problems[index % len(self.problems)]
        sample_id = f"{self.stream}/{index}"
        program = tiny_apps.demonstrate(
            problem,
            noise=tiny_apps.DEMONSTRATION,
            random=Random(sample_id),  # noqa: S311
        )
        return Demonstration(sample_id, problem.prompt, program)


class TinyPrompts(Dataset[PromptExample]):
    """Problems with their tests, the rows of one problem side by side.

    Args:
        problems: Problems of the split.
        stream: Name of the stream.
        samples_per_prompt: Rows per problem.
    """

    def __init__(self, problems: tuple[Problem, ...], *, stream: str, samples_per_prompt: int) -> None:
        self.problems = problems
        self.stream = stream
        self.samples_per_prompt = samples_per_prompt

    def __len__(self) -> int:
        return len(self.problems) * self.samples_per_prompt

    def __getitem__(self, index: int) -> PromptExample:
        number, sample = divmod(index, self.samples_per_prompt)
        problem = self.problems[number]
        reference = {
            "problem_id": problem.problem_id,
            "difficulty": problem.difficulty,
            "input_output": json.dumps(problem.tests),
        }
        return PromptExample(f"{self.stream}/{number}/{sample}", problem.prompt, reference)


@checked
class TinyAPPS(RLHFDataModule):
    """Small generated programming problems with tests; SFT and PPO each train on half of those that are not held out.

    A token is a word of a question or a character of a program.

    Args:
        stage: "sft" gives demonstrations, "ppo" prompts, "evaluation" prompts that are never used for training.
        batch_size: Rows per optimizer step (sft) or per rollout (ppo), over all ranks.
        eval_batch_size: Rows per evaluation batch, over all ranks.
        train_rows: Number of demonstrations; every problem comes many times, each time with other noise.
        validate_problems: Number of held-out problems for validation.
        test_problems: Number of other held-out problems for the final evaluation.
        samples_per_prompt: Responses to each problem in the final evaluation; k for pass@k.
        num_workers: Processes that prepare batches; 0 prepares them in the training process.
        seed: Seed of the order of the training rows; the rows themselves never change.
    """

    def __init__(
        self,
        *,
        stage: Stage,
        batch_size: PositiveInt = 64,
        eval_batch_size: PositiveInt = 256,
        train_rows: PositiveInt = 100_000,
        validate_problems: PositiveInt = 128,
        test_problems: PositiveInt = 200,
        samples_per_prompt: PositiveInt = 1,
        num_workers: NonNegativeInt = 0,
        seed: int = 1,
    ) -> None:
        if stage == "reward_model":
            raise ValueError(
                "data.init_args.stage: tiny APPS has no preference pairs, since tests score its programs: "
                "expected sft, ppo or evaluation"
            )
        super().__init__(
            stage=stage, batch_size=batch_size, eval_batch_size=eval_batch_size, num_workers=num_workers, seed=seed
        )
        self.train_rows = train_rows
        self.held_out = {"validate": validate_problems, "test": test_problems}
        self.samples_per_prompt = samples_per_prompt

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """One token per word of a question and per character of a program."""
        return piece_tokenizer(tiny_apps.prompt_pieces(), tiny_apps.ALPHABET)

    @property
    def longest(self) -> int:
        """Tokens of the longest row: BOS and prompt, and for SFT program and EOS."""
        prompts = {problem.prompt for problem in tiny_apps.every_problem()}
        prompt = max(map(len, self.tokenizer(sorted(prompts)).input_ids))
        return prompt + tiny_apps.longest_program() + 1 if self.stage == "sft" else prompt

    def examples(self, split: Split) -> TinyDemonstrations | TinyPrompts:
        """Return the rows of a split; the stages train on different problems, their held-out problems are the same."""
        if split == "train":
            return self._demonstrations(self.train_rows) if self.stage == "sft" else self._prompts("ppo")
        number = self.held_out[split]
        if self.stage == "sft":
            problems = tiny_apps.problems(split)[:number]
            return TinyDemonstrations(problems, stream=f"tiny-apps/{split}", size=len(problems))
        samples = self.samples_per_prompt if split == "test" else 1
        return self._prompts(split, number, samples_per_prompt=samples)

    def demonstrations(self, rows: int) -> SupervisedBatch:
        """Return the first demonstrations of SFT."""
        stream = self._demonstrations(rows)
        return Collator(self.tokenizer).demonstrations([stream[row] for row in range(rows)])

    def _demonstrations(self, rows: int) -> TinyDemonstrations:
        return TinyDemonstrations(tiny_apps.problems("sft"), stream="tiny-apps/sft", size=rows)

    def _prompts(
        self, split: tiny_apps.Split, number: int | None = None, *, samples_per_prompt: int = 1
    ) -> TinyPrompts:
        return TinyPrompts(
            tiny_apps.problems(split)[:number], stream=f"tiny-apps/{split}", samples_per_prompt=samples_per_prompt
        )
