"""Fake run directories, as `fit` and `test` leave them, so that no report test trains anything."""

import math
import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from lightning_marlhf.files import write_json, write_text
from lightning_marlhf.records import Completion, RunSummary, write_jsonl
from lightning_marlhf.reporting.spec import ReportRow, SystemReport

REPORT = SystemReport(
    rows=[
        ReportRow(stage="sft_eval", label="SFT"),
        ReportRow(stage="ppo", label="PPO (n = 1)"),
        ReportRow(stage="ppo_matched", label="PPO, horizon matched to n = 10"),
        ReportRow(stage="ma_ppo_fixed10", label="MA-PPO (n = 10)"),
    ],
    scores={"gold": "Gold score", "rm": "RM score"},
    baseline="sft_eval",
    reference_run="ppo",
    reward_model="reward_model",
)
# stage: macro length, gold at the end, KL at the end, how fast it gets there
STAGES: dict[str, tuple[int | None, float, float, float]] = {
    "ppo": (1, 3.2, 8.0, 0.8),
    "ppo_matched": (1, 3.7, 9.5, 1.2),
    "ma_ppo_fixed10": (10, 4.1, 10.0, 2.0),
}
TEXT = "ann lost her keys on monday, feels upset, asks how to get in."


def completion(sample_id: str, **changes: Any) -> Completion:
    """One short response; ``changes`` replace its fields."""
    fields: dict[str, Any] = {
        "sample_id": sample_id,
        "prompt": f"prompt {sample_id}",
        "response": "a summary",
        "model": "export",
        "seed": 1,
        "step": 240,
        "num_tokens": 10,
        "ended": True,
        "scores": {"gold": 1.0, "rm": 0.5},
        "kl": 2.0,
    }
    return Completion(**{**fields, **changes})


def write_run(
    folder: Path,
    *,
    responses: Sequence[Completion] = (),
    metrics: Mapping[str, Mapping[int, float]] | None = None,
    done: Mapping[str, float] | None = None,
    seconds: float = 100.0,
) -> None:
    """Write one run directory; a run without ``done`` is not finished."""
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "config.yaml", "seed_everything: 1\n")
    lines = [
        f"{step},{name},{value},{step * 0.5}"
        for name, curve in (metrics or {}).items()
        for step, value in curve.items()
    ]
    write_text(folder / "metrics.csv", "\n".join(["step,name,value,seconds", *lines]) + "\n")
    if responses:
        write_jsonl(folder / "completions/test.jsonl", responses)
    if done is not None:
        summary = RunSummary(command="fit", step=240, seconds=seconds, metrics=dict(done))
        write_json(folder / "done.json", summary.to_dict())
    environment = {
        "command": f"python -m lightning_marlhf fit {folder.name}",
        "started": "2025-01-01T00:00:00+0000",
        "git_commit": "0123abc",
        "python": "3.12.1",
        "versions": {"torch": "2.13.0", "lightning": "2.6.6"},
        "hardware": {"cpu": "Some CPU", "cpu_cores": 2, "gpus": []},
    }
    write_json(folder / "environment.json", environment)


def trace(text: str, *, macro_length: int, score: float, rng: random.Random) -> dict[str, Any]:
    """A trace with characters as tokens and an end token."""
    tokens = [*text, "<eos>"]
    num = len(tokens)
    index = [n // macro_length for n in range(num)]
    by_macro = [rng.gauss(0.0, 1.0) for _ in range(index[-1] + 1)]
    kl = [abs(rng.gauss(0.0, 0.2)) for _ in tokens]
    return {
        "tokens": tokens,
        "macro_index": index,
        "values": [score * (0.4 + 0.5 * n / num) + rng.gauss(0, 0.1) for n in range(num)],
        "rewards": [-0.02 * k for k in kl[:-1]] + [score],
        "advantages": [by_macro[i] for i in index],
        "kl": kl,
    }


def _metrics(stage: str, rng: random.Random) -> dict[str, dict[int, float]]:
    macro_length, gold, kl, speed = STAGES[stage]
    share = {step: 1 - math.exp(-speed * step / 80) for step in range(4, 244, 4)}

    def curve(start: float, end: float, noise: float) -> dict[int, float]:
        return {s: start + (end - start) * f + rng.gauss(0, noise) for s, f in share.items()}

    return {
        "objective/gold": curve(2.05, gold, 0.15),
        "objective/scores": curve(0.1, gold - 2.0, 0.12),
        "objective/kl": curve(0.0, kl, 0.5),
        "policy/clipfrac_avg": curve(0.02, 0.12, 0.01),
        "policy/entropy_avg": curve(0.42, 0.2, 0.01),
        "critic/vf_explained_var": curve(0.0, 0.7, 0.06),
        "response_length/mean": curve(62, 66, 1.0),
        "macro/advantage_var": curve(1.0, 0.5 if macro_length == 1 else 0.8, 0.05),
    }


def _responses(stage: str, seed: int, rng: random.Random, prompts: int) -> list[Completion]:
    macro_length, gold, kl, _ = STAGES.get(stage, (None, 2.05, 0.0, 0.0))
    rows = []
    for n in range(prompts):
        score = round(2 * rng.gauss(gold, 0.9)) / 2
        kept = macro_length is not None and n < 2
        rows.append(
            completion(
                f"prompt-{n:04d}",
                prompt=f"{n}: on monday ann lost her keys. the sky was grey. she is upset.",
                response=TEXT,
                seed=seed,
                num_tokens=rng.randint(55, 70),
                ended=rng.random() < 0.97,
                scores={"gold": score, "rm": score - 2 + rng.gauss(0, 0.4)},
                kl=max(0.0, rng.gauss(kl, 1.2)) if macro_length else 0.0,
                reference={"summary": TEXT, "facts": {"who": "ann", "when": "monday"}},
                trace=trace(TEXT, macro_length=macro_length, score=score, rng=rng) if kept and macro_length else None,
            )
        )
    return rows


@pytest.fixture
def report_section() -> SystemReport:
    """A plan's `report:` section."""
    return REPORT


@pytest.fixture
def make_completion() -> Callable[..., Completion]:
    """Return `completion`."""
    return completion


@pytest.fixture
def make_run() -> Callable[..., None]:
    """Return `write_run`."""
    return write_run


@pytest.fixture
def make_trace() -> Callable[..., dict[str, Any]]:
    """Return `trace`."""
    return trace


@pytest.fixture
def fake_study(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes a whole study with random but fixed numbers."""

    def write(*, seeds: Sequence[int] = (1,), prompts: int = 40) -> Path:
        for seed in seeds:
            rng = random.Random(seed)
            write_run(tmp_path / f"sft/seed-{seed}", done={"eval/loss": 0.6}, seconds=390)
            accuracy = {"eval/accuracy": 0.78, "eval/best_possible_accuracy": 0.84}
            write_run(tmp_path / f"reward_model/seed-{seed}", done=accuracy, seconds=120)
            for stage in ("sft_eval", *STAGES):
                write_run(
                    tmp_path / stage / f"seed-{seed}",
                    responses=_responses(stage, seed, rng, prompts),
                    metrics=_metrics(stage, rng) if stage in STAGES else None,
                    done={"eval/gold": 1.0},
                    seconds=145,
                )
        return tmp_path

    return write
