"""What `benchmarks.gpu` measures, and the table it makes of it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HEADING = "## Training steps on one GPU"
PHASES = ("generation", "scoring", "logprobs", "update")
NAMES = {"sft": "SFT", "reward_model": "reward model", "ppo": "MA-PPO"}
GB = 1e9


@dataclass(frozen=True)
class Case:
    """What is measured."""

    stage: str
    micro_batch_size: int
    shape: dict[str, Any]
    batch_size: int = 16
    prompt: int = 512
    response: int = 512
    steps: int = 4  # of which the first one warms up
    dtype: str = "bfloat16"


@dataclass(frozen=True)
class Result:
    """What was measured."""

    case: Case
    plan: dict[str, float]  # peak memory of each phase in bytes
    peaks: dict[str, float] = field(default_factory=dict)  # the same, measured; empty on a CPU
    seconds: dict[str, float] = field(default_factory=dict)  # of a phase, the median step
    response: float = 0.0  # tokens per response
    failure: str = ""

    @property
    def generated_per_s(self) -> float:
        """Tokens that are generated per second."""
        return self.case.batch_size * self.response / self.seconds["generation"]

    @property
    def trained_per_s(self) -> float:
        """Tokens that are read in updates per second; a pair is two rows."""
        rows = self.case.batch_size * (2 if self.case.stage == "reward_model" else 1)
        return rows * (self.case.prompt + self.response) / self.seconds["update"]


def line(result: Result) -> str:
    """Write a result as a row of the table."""
    case = result.case
    head = f"| {NAMES[case.stage]} | {case.micro_batch_size} |"
    if result.failure:
        return f"{head} {result.failure} " + "| - " * (2 + len(PHASES)) + "|"
    generated = f"{result.generated_per_s:,.0f}" if case.stage == "ppo" else "-"
    total = sum(result.seconds.values())
    cells = [f"{total:.3g}", generated, f"{result.trained_per_s:,.0f}"]
    cells += [memory(result, phase) for phase in PHASES]
    return f"{head} {' | '.join(cells)} |"


def memory(result: Result, phase: str) -> str:
    """Write the peak of a phase, measured and planned, in GB."""
    if phase not in result.plan:
        return "-"
    measured = f"{result.peaks[phase] / GB:.1f}" if phase in result.peaks else "?"
    return f"{measured} / {result.plan[phase] / GB:.1f}"


def section(results: Sequence[Result], command: str, machine: str) -> str:
    """Write the section of the README."""
    case = results[0].case
    phases = " | ".join(PHASES)
    return "\n".join(
        [
            HEADING,
            "",
            f"```\n{command}\n```",
            "",
            f"Gemma of {case.shape['num_hidden_layers']} layers and {case.shape['hidden_size']} hidden units, random "
            f"weights, {case.dtype} (AdamW's moments too), layers checkpointed; {case.batch_size} rows (pairs) a step, "
            f"prompts of {case.prompt} tokens, responses of {case.response}; the median of {case.steps - 1} steps "
            f"after one that warms up. Machine: {machine}. Memory: peak of a phase in GB, measured / by `plan`.",
            "",
            f"| stage | micro_batch_size | s per step | generated tokens/s | trained tokens/s | {phases} |",
            "|---" * (5 + len(PHASES)) + "|",
            *map(line, results),
            "",
        ]
    )


def put(text: str, readme: Path) -> None:
    """Replace the section of the README, or add it at the end."""
    before, _, after = readme.read_text(encoding="utf-8").partition(HEADING)
    _, found, rest = after.partition("\n## ")
    following = f"\n## {rest}" if found else ""
    readme.write_text(f"{before.rstrip()}\n\n{text.rstrip()}\n{following}", encoding="utf-8")
