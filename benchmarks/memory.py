"""Measure whether the memory of a run grows: 2,000 updates of a tiny MA-PPO, with validation, checkpoints and records.

    python -m benchmarks.memory

Prints the resident memory of the process as the run goes on, and its growth per 1,000 updates in the second half.
"""

import argparse
import os
import statistics
import tempfile
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from lightning_marlhf.commands import run as cli
from tests.modules.tiny_runs import write_exports
from tests.soak import UPDATES_PER_KILL, Soak

LINES = 20
_PAGE = os.sysconf("SC_PAGE_SIZE")


def resident_mb() -> float:
    """Read the resident memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE / 1e6


class ResidentMemory(Callback):
    """Notes the resident memory after each batch, and prints it now and then."""

    def __init__(self) -> None:
        self.seen: dict[int, float] = {}

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Note it."""
        step, every = trainer.global_step, max(1, trainer.max_steps // LINES)
        self.seen[step] = resident_mb()
        if step % every == 0:
            print(f"update {step:5}: {self.seen[step]:7.1f} MB", flush=True)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Fit a line through the second half."""
        half = {step: mb for step, mb in self.seen.items() if step > trainer.max_steps / 2}
        slope = statistics.linear_regression(list(half), list(half.values())).slope
        print(f"growth in the second half: {1000 * slope:+.2f} MB per 1,000 updates")


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--updates", type=int, default=2000)
    updates = parser.parse_args().updates
    with tempfile.TemporaryDirectory() as folder:
        write_exports(Path(folder))
        run = Soak(Path(folder), kills=updates // UPDATES_PER_KILL).command(Path(folder) / "run")
        cli.main([*run, "--trainer.callbacks=benchmarks.memory.ResidentMemory"])


if __name__ == "__main__":
    main()
