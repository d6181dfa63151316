"""Results of evaluations that stages of a plan have left, seed by seed."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning_marlhf.files import read_json_or_empty
from lightning_marlhf.reporting.systems import System


def read_results(system: System, name: str) -> dict[str, list[dict[str, Any]]]:
    """Return the results of a system's evaluations: stage -> one for each seed that has the file ``name``."""
    found = {
        stage: [
            result
            for seed in system.study.seeds
            if (result := read_json_or_empty(system.study.output / stage / f"seed-{seed}" / name))
        ]
        for stage in system.evaluations
    }
    return {stage: results for stage, results in found.items() if results}


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
