"""A run killed in the middle goes on as if nothing had happened: by the command line, as a user has it."""

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from safetensors.torch import load_file

from tests.modules.tiny_runs import write_exports

ROOT = Path(__file__).parents[2]
MEASURED = ("timing_s/", "perf/")  # how long things took differs


def command(folder, exports, *arguments):
    settings = {
        "trainer.default_root_dir": folder,
        "trainer.max_steps": 6,
        "trainer.limit_val_batches": 0,
        "checkpoint.every_n_train_steps": 2,
        "data.init_args.batch_size": 8,
        "model.init_args.policy": exports["policy"],
        "model.init_args.scorer.init_args.model": exports["reward"],
        "model.init_args.sampling.max_new_tokens": 16,
        "model.init_args.optimization.warmup_steps": 2,
        "model.init_args.ppo.epochs": 1,
    }
    return [
        *(sys.executable, "-m", "lightning_marlhf", "fit"),
        *("--config", str(ROOT / "experiments/tiny/tldr/ma_ppo_fixed10.yaml")),
        *(f"--{name}={value}" for name, value in settings.items()),
        *arguments,
    ]


def metrics(folder):
    with (folder / "metrics.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if not row["name"].startswith(MEASURED)]
    return {(int(row["step"]), row["name"]): float(row["value"]) for row in rows}


def test_a_killed_run_resumes_with_the_losses_and_weights_of_an_uninterrupted_one(tmp_path):
    exports = write_exports(tmp_path)
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    subprocess.run(command(whole, exports), check=True, cwd=ROOT, env=environment, timeout=300)

    process = subprocess.Popen(command(killed, exports), cwd=ROOT, env=environment)
    while not (killed / "checkpoints/last.ckpt").exists():
        assert process.poll() is None, "the run ended before it was killed"
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=60)
    assert not (killed / "done.json").exists()
    subprocess.run(
        command(killed, exports, "--ckpt_path", "last"),
        check=True,
        cwd=ROOT,
        env=environment,
        timeout=300,
    )

    assert metrics(killed).keys() == metrics(whole).keys()
    assert metrics(killed) == pytest.approx(metrics(whole), abs=1e-6)
    weights, expected = (load_file(run / "export/model.safetensors") for run in (killed, whole))
    for name, weight in expected.items():
        assert (weights[name] - weight).abs().max() <= 1e-6, name
