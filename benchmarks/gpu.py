"""Measure SFT, reward model and MA-PPO steps at Gemma-2B's real shape, with random weights, on one GPU.

    python -m benchmarks.gpu                   # --tiny runs a tiny shape on the CPU, to see that it works

Tokens per second for generation and training, and the peak of memory in each phase against what `plan` says. Weights
and AdamW's moments are bfloat16, layers are checkpointed: all four networks of MA-PPO fit into 80 GB so. What does not
fit by `plan` is not tried. The result replaces its section in benchmarks/README.md.
"""

import argparse
import shlex
import statistics
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any, ClassVar

import torch
import yaml
from lightning.pytorch import Callback, LightningModule, Trainer

from benchmarks.gpu_table import GB, PHASES, Case, Result, line, put, section
from benchmarks.random_rows import RandomRows
from lightning_marlhf.callbacks.run_directory import git_commit
from lightning_marlhf.commands import run as cli
from lightning_marlhf.commands.plan import build_parts
from lightning_marlhf.models.configs import ModelConfig
from lightning_marlhf.models.hf_export import export
from lightning_marlhf.models.loading import load_sequence_classifier
from lightning_marlhf.modules import ma_ppo
from lightning_marlhf.planning import memory
from lightning_marlhf.planning.meta_models import PUBLISHED
from lightning_marlhf.planning.read_run import read_run
from lightning_marlhf.rollout.experience import Stopwatch

README = Path(__file__).with_name("README.md")
STAGES = {"sft": "SFT", "reward_model": "RewardModel", "ppo": "MAPPO"}
TINY = {
    "model_type": "gemma",
    "vocab_size": 64,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 8,
}


class Watch(Stopwatch):
    """A stopwatch that waits for the GPU, and sees the peak of memory of each part."""

    every: ClassVar[defaultdict[str, list[float]]] = defaultdict(list)  # seconds, of all stopwatches
    peaks: ClassVar[defaultdict[str, float]] = defaultdict(float)

    @contextmanager
    def __call__(self, part: str) -> Iterator[None]:
        """Measure what is in the ``with`` block."""
        before = self.seconds[part]
        cuda = torch.cuda.is_available()
        if cuda:
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
        with super().__call__(part):
            yield
            if cuda:
                torch.cuda.synchronize()
        Watch.every[part].append(self.seconds[part] - before)
        if cuda:
            Watch.peaks[part] = max(Watch.peaks[part], torch.cuda.max_memory_allocated())


class WholeStep(Callback):
    """Measures whole steps, of modules that have no stopwatch of their own."""

    def on_train_batch_start(self, *args: Any) -> None:
        """Begin."""
        self.block = Watch()("update")
        self.block.__enter__()

    def on_train_batch_end(self, *args: Any) -> None:
        """End."""
        self.block.__exit__(None, None, None)


class Lengths(Callback):
    """Notes how long responses are."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def on_train_batch_end(self, trainer: Trainer, module: LightningModule, *args: Any) -> None:
        """Note it."""
        self.seen.append(float(trainer.callback_metrics["response_length/mean"]))


def settings(case: Case, reward_model: Path) -> dict[str, Any]:
    """Write a case as the configuration of a run."""
    shape = {key: value for key, value in case.shape.items() if key != "vocab_size"}
    model = {"config": shape}
    optimization = {"lr": 1e-6, "schedule": "constant"}
    module: dict[str, Any] = {
        "optimization": optimization,
        "micro_batch_size": case.micro_batch_size,
        "checkpoint_activations": True,
        "dtype": case.dtype,
    }
    if case.stage == "ppo":
        scoring = {"model": str(reward_model), "dtype": case.dtype, "batch_size": case.micro_batch_size}
        module |= {
            "policy": model,
            "critic": model,
            "scorer": {"class_path": "lightning_marlhf.rollout.scoring.RewardModelScorer", "init_args": scoring},
            "termination": {"class_path": "lightning_marlhf.rollout.termination.FixedNGram", "init_args": {"n": 5}},
            "sampling": {"max_new_tokens": case.response},
        }
    else:
        module["model"] = model
    rows = {
        "stage": case.stage,
        "vocabulary": case.shape["vocab_size"],
        "prompt": case.prompt,
        "response": case.response,
        "batch_size": case.batch_size,
    }
    return {
        "trainer": {"default_root_dir": "benchmark", "max_steps": case.steps, "precision": "32-true"},
        "model": {"class_path": f"lightning_marlhf.modules.{STAGES[case.stage]}", "init_args": module},
        "data": {"class_path": "benchmarks.random_rows.RandomRows", "init_args": rows},
    }


def measure(case: Case, reward_model: Path, capacity: float | None) -> Result:
    """Measure one case, unless `plan` says that it does not fit into ``capacity`` bytes."""
    cli.mute_lightning()
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        yaml.safe_dump(settings(case, reward_model), file)
        file.flush()
        arguments = ["--config", file.name]
        planned = Result(case, memory.peaks(read_run(arguments, config_files=[], build=build_parts)))
        need = max(planned.plan.values())
        if capacity is not None and need > capacity:
            return replace(planned, failure=f"does not fit: {need / GB:.0f} GB by `plan`")
        parsed = cli.RunCLI("fit", arguments, build=False)
        made = parsed.parser.instantiate(parsed.config)
    try:
        return run(planned, made.model, made.data)
    except torch.cuda.OutOfMemoryError as error:
        return replace(planned, failure=f"out of memory: {' '.join(str(error).split())[:80]}")


def run(planned: Result, module: LightningModule, data: RandomRows) -> Result:
    """Make the steps of a case and measure them."""
    ppo = planned.case.stage == "ppo"
    Watch.every.clear()
    Watch.peaks.clear()
    original, ma_ppo.Stopwatch = ma_ppo.Stopwatch, Watch  # type: ignore[misc]
    lengths = Lengths()
    try:
        Trainer(
            max_steps=planned.case.steps,
            devices=1,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
            limit_val_batches=0,
            callbacks=[lengths if ppo else WholeStep()],
        ).fit(module, datamodule=data)
    finally:
        ma_ppo.Stopwatch = original  # type: ignore[misc]
    return replace(
        planned,
        peaks=dict(Watch.peaks),
        seconds={phase: statistics.median(per_step(Watch.every[phase], planned.case.steps)[1:]) for phase in PHASES},
        response=statistics.median(lengths.seen) if ppo else planned.case.response,
    )


def per_step(seconds: Sequence[float], steps: int) -> list[float]:
    """Add up the parts of each step, which all have as many, in order."""
    parts = len(seconds) // steps
    return [sum(seconds[step * parts : (step + 1) * parts]) for step in range(steps)]


def write_reward_model(folder: Path, case: Case) -> Path:
    """Write a random reward model, which MA-PPO loads."""
    data = RandomRows(stage="ppo", vocabulary=case.shape["vocab_size"], prompt=2, response=2, batch_size=1)
    shape = {key: value for key, value in case.shape.items() if key != "vocab_size"}
    source = ModelConfig(shape, seed=2)
    model = load_sequence_classifier(source, data.tokenizer, dtype=case.dtype)
    export(model, data.tokenizer, folder / "reward", card={})
    return folder / "reward"


def machine() -> tuple[str, float | None]:
    """Name what this runs on, and the memory of its GPU in bytes."""
    commit = git_commit(Path(__file__).parents[1])
    versions = f"torch {torch.__version__}, commit {(commit or 'unknown')[:7]}"
    if not torch.cuda.is_available():
        return f"CPU, {versions}", None
    card = torch.cuda.get_device_properties(0)
    return f"{card.name} ({card.total_memory / GB:.0f} GB), {versions}", float(card.total_memory)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure all cases, each in a process of its own, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tiny", action="store_true", help="a tiny shape, also without a GPU")
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=list(STAGES))
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 4, 16], help="per pass")
    parser.add_argument("--readme", type=Path, help="where the table goes; a GPU's to README.md")
    options = parser.parse_args(arguments)
    name, capacity = machine()
    if capacity is None and not options.tiny:
        sys.stderr.write("error: no GPU here; --tiny shows on the CPU that the benchmark works\n")
        return 1
    case = Case("sft", 1, dict(PUBLISHED["google/gemma-2b"]))
    if options.tiny:
        case = replace(case, shape=TINY, prompt=8, response=8, steps=2, dtype="float32")
    with tempfile.TemporaryDirectory() as folder:
        reward_model = write_reward_model(Path(folder), case)
        results = []
        for stage in options.stages:
            for rows in options.rows:
                asked = replace(case, stage=stage, micro_batch_size=rows)
                with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
                    results.append(process.submit(measure, asked, reward_model, capacity).result())
                print(line(results[-1]), flush=True)
    command = f"python -m benchmarks.gpu {shlex.join(arguments or sys.argv[1:])}".rstrip()
    text = section(results, command, name)
    readme = options.readme or (README if capacity is not None and not options.tiny else None)
    if readme:
        put(text, readme)
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
