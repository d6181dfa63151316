"""Tiny runs of every stage, the same in one process and in many."""

import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback

from lightning_marlhf.callbacks.checkpoint import Checkpoint
from lightning_marlhf.modules import MAPPO, SFT, RewardModel
from lightning_marlhf.modules.kl_controller import KLControl
from lightning_marlhf.modules.ppo import PPO
from lightning_marlhf.rollout.generation import SamplingSettings
from lightning_marlhf.rollout.retries import RetryPolicy
from lightning_marlhf.rollout.scoring import Ready, RewardModelScorer, TinyTLDRGold
from lightning_marlhf.rollout.settings import Shaping
from lightning_marlhf.rollout.termination import FixedNGram
from tests.modules.tiny_runs import FAST, data, fit

MEASURED = ("timing_s/", "perf/")  # how long things took differs
OPTIMIZATION = replace(FAST, lr=1e-2, max_grad_norm=0.5)  # so that clipping acts


def make(stage: str, exports: Path, **settings: Any) -> Any:
    """Build a module that starts from the folders of ``exports``."""
    if stage != "ppo":
        maker, start = (SFT, "policy") if stage == "sft" else (RewardModel, "reward")
        defaults = {"model": str(exports / start), "optimization": OPTIMIZATION, "micro_batch_size": 2}
        return maker(**defaults | settings)
    defaults = {
        "policy": str(exports / "policy"),
        "critic": str(exports / "reward"),
        "scorer": RewardModelScorer(str(exports / "reward")),
        "auxiliary_scorers": [TinyTLDRGold()],
        "termination": FixedNGram(n=3),
        "sampling": SamplingSettings(max_new_tokens=8),
        "shaping": Shaping(normalize=True),
        "optimization": OPTIMIZATION,
        "ppo": PPO(epochs=2, minibatches=2),
        "micro_batch_size": 1,
        "checkpoint_activations": True,
    }
    return MAPPO(**defaults | settings)


def assert_alike(found: list[dict[str, float]], expected: list[dict[str, float]]) -> None:
    """Compare logs batch by batch, up to rounding."""
    for batch, wanted in zip(found, expected, strict=True):
        assert batch.keys() == wanted.keys()
        for name, value in wanted.items():
            # tokens are counted beyond a limit: one that is on it may be on either side
            tolerance = 0.1 if "clipfrac" in name else 1e-5
            assert batch[name] == pytest.approx(value, abs=tolerance, rel=1e-5), name


class Log(Callback):
    """Keeps what was logged after each batch."""

    def __init__(self) -> None:
        self.batches: list[dict[str, float]] = []

    def on_train_batch_end(self, trainer, *_):
        logged = trainer.callback_metrics.items()
        self.batches.append({k: float(v) for k, v in logged if not k.startswith(MEASURED)})


class ScoresSome(TinyTLDRGold):
    """Gives NaN to a third of the samples, which share processes unevenly; the `broken` process raises in `rollout`."""

    def __init__(self, *, broken: bool = False, rollout: int = 0) -> None:
        super().__init__("some")
        self.broken, self.rollout, self.asked = broken, rollout, 0

    def submit(self, rollout, *, evaluating):
        self.asked += 1
        if self.broken and self.asked == self.rollout:
            raise ConnectionError("no route")
        scores = super().submit(rollout, evaluating=evaluating).result()
        names = rollout.prompts.sample_ids
        bad = torch.tensor([zlib.crc32(name.encode()) % 3 == 0 for name in names])
        return Ready(replace(scores, values=scores.values.masked_fill(bad, torch.nan)))


class Stop(Callback):
    """Ends a run early, as an interrupt does."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_end(self, trainer, *_):
        trainer.should_stop = trainer.global_step >= self.step


def losses(module: Any, stage: str, folder: Path, **settings: Any) -> list[dict[str, float]]:
    """Train for two batches with validation on 5 rows, which no number of processes shares evenly; return the logs."""
    log = Log()
    steps = 2 * module.updates_per_batch
    often = {"val_check_interval": 1, "check_val_every_n_epoch": None, "limit_val_batches": 1.0}
    rows = data(stage, validate_rows=5, eval_batch_size=4)
    fit(module, rows, folder, steps=steps, callbacks=[log], **often | settings)
    return log.batches


def unscored(exports: Path, folder: Path, **settings: Any) -> list[dict[str, float]]:
    """Train MA-PPO where some answers have no score; return the logs."""
    once, control = RetryPolicy(attempts=1), KLControl(target=1.0, horizon=100)
    scorer = ScoresSome(**{k: settings.pop(k) for k in ("broken", "rollout") if k in settings})
    module = make("ppo", exports, scorer=scorer, auxiliary_scorers=[], retry_policy=once, kl=control)
    return losses(module, "ppo", folder, **settings)


def part(
    exports: Path, folder: Path, *, stop: int, resume: bool, export: Path | None = None, **settings: Any
) -> list[dict[str, float]]:
    """Train MA-PPO of 4 batches until ``stop`` updates, with a checkpoint after every batch; return the logs."""
    log, checkpoints = Log(), folder / "checkpoints"
    module = make("ppo", exports, micro_batch_size=8)
    saving = Checkpoint(every_n_train_steps=4, dirpath=str(checkpoints))
    last = checkpoints / "last.ckpt" if resume else None
    settings |= {"enable_checkpointing": True, "callbacks": [log, saving, Stop(stop)]}
    fit(module, data("ppo"), folder, steps=16, ckpt_path=last, **settings)
    if export is not None:
        module.export(export, card={})
    return log.batches


def epochs(
    stage: str, exports: Path, folder: Path, *, batches: int, resume: bool = False, **settings: Any
) -> list[dict[str, float]]:
    """Train until there were so many batches, of which an epoch has 3, and save; return the logs."""
    module, log = make(stage, exports), Log()
    settings |= {"enable_checkpointing": True, "callbacks": [log, Checkpoint()]}
    last = folder / "checkpoints/last.ckpt" if resume else None
    steps = batches * module.updates_per_batch
    fit(module, data(stage, train_rows=24), folder, steps=steps, ckpt_path=last, **settings)
    return log.batches
