"""A run that is stopped, in whatever way, and resumed gives the numbers of an uninterrupted one."""

import os
import signal

import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import EarlyStopping, Timer

from lightning_marlhf.callbacks.checkpoint import Checkpoint
from lightning_marlhf.callbacks.guards import KLGuard
from lightning_marlhf.callbacks.interrupt import GracefulInterrupt, RunInterrupted
from tests.modules.tiny_runs import data, fit

BATCHES = 6  # of the whole run; an epoch has 3
LOSSES = {"sft": "loss/sft", "reward_model": "loss/reward_model", "ppo": "loss/value_avg"}
STAGES = tuple(LOSSES)
UPDATES = {"sft": 1, "reward_model": 1, "ppo": 2}  # of a batch


class Log(Callback):
    """Keeps what each batch was worth, by the number of updates."""

    def __init__(self, stage):
        self.names = [LOSSES[stage], *(["objective/scores"] if stage == "ppo" else [])]
        self.found = {}

    def on_train_batch_end(self, trainer, *_):
        metrics = [float(trainer.callback_metrics[name]) for name in self.names]
        assert trainer.global_step not in self.found, "a batch was made twice"
        self.found[trainer.global_step] = metrics


class At(Callback):
    """Does something at the start of the batch after so many updates."""

    def __init__(self, step):
        self.step = step

    def on_train_batch_start(self, trainer, *_):
        if trainer.global_step >= self.step:
            self.act()


@pytest.fixture(scope="module")
def whole():
    """The numbers of uninterrupted runs, by stage; each is made once."""
    return {}


@pytest.fixture
def run(make_sft, make_reward_model, make_ppo, tmp_path, whole):
    makers = {"sft": make_sft, "reward_model": make_reward_model, "ppo": make_ppo}

    def part(stage, folder, *callbacks, batches=BATCHES, resume=False, workers=0, **settings):
        module, log = makers[stage](), Log(stage)
        torch.manual_seed(0)
        fit(
            module,
            data(stage, train_rows=24, num_workers=workers),
            folder,
            steps=batches * UPDATES[stage],
            callbacks=[log, *callbacks, Checkpoint(), GracefulInterrupt()],
            enable_checkpointing=True,
            ckpt_path=folder / "checkpoints/last.ckpt" if resume else None,
            **settings,
        )
        return log.found

    def compare(stage, stop, *, workers=0):
        """Stop a run by ``stop(part)``, go on with it, and compare each batch with those of the whole run."""
        if stage not in whole:
            whole[stage] = part(stage, tmp_path / "whole")
        stop(lambda *args, **kw: part(stage, tmp_path / "parts", *args, workers=workers, **kw))
        rest = part(stage, tmp_path / "parts", resume=True, workers=workers)
        assert 0 < len(rest) < BATCHES
        for step, metrics in rest.items():
            assert metrics == pytest.approx(whole[stage][step], rel=1e-5, abs=1e-6), step
        assert [*whole[stage]][-len(rest) :] == [*rest]  # no update is left out

    return compare


@pytest.mark.parametrize(("stage", "batches"), [("ppo", 1), *((stage, n) for stage in STAGES for n in (3, 4))])
def test_by_max_steps_inside_an_epoch_and_at_its_end(run, stage, batches):
    run(stage, lambda part: part(batches=batches))


@pytest.mark.parametrize(("stage", "batches"), [("sft", 3), ("reward_model", 4), ("ppo", 4)])
def test_with_processes_that_prepare_batches(run, stage, batches):
    run(stage, lambda part: part(batches=batches), workers=2)


@pytest.mark.parametrize("stage", STAGES)
def test_by_max_time(run, stage):
    class TimeIsOver(At):
        def act(self):
            timer._duration = 0.0

    timer = Timer(duration={"days": 1})
    run(stage, lambda part: part(TimeIsOver(4 * UPDATES[stage]), timer))


@pytest.mark.parametrize("stage", STAGES)
def test_by_early_stopping_after_a_validation(run, stage):
    reached = {"mode": "min", "stopping_threshold": 1e9, "check_on_train_epoch_end": False}
    often = {"val_check_interval": 4, "check_val_every_n_epoch": None, "limit_val_batches": 1}
    run(stage, lambda part: part(EarlyStopping(LOSSES[stage], **reached), **often))


def test_by_the_guard_of_kl(run):
    run("ppo", lambda part: part(KLGuard(update_limit=1e-9, action="stop")))


@pytest.mark.parametrize(
    ("stage", "number"),
    [("sft", signal.SIGINT), ("sft", signal.SIGHUP), ("reward_model", signal.SIGUSR1), ("ppo", signal.SIGTERM)],
)
def test_by_a_signal(run, stage, number):
    class Signal(At):
        def act(self):
            os.kill(os.getpid(), number)

    def stop(part):
        with pytest.raises(RunInterrupted):
            part(Signal(3 * UPDATES[stage]))

    run(stage, stop)


def test_an_interval_above_the_epoch_counts_batches_over_all_epochs(make_sft, tmp_path):
    validated = []

    class Note(Callback):
        def on_validation_start(self, trainer, *_):
            validated.append(trainer.global_step)

    often = {"val_check_interval": 4, "limit_val_batches": 1, "callbacks": [Note()]}
    fit(make_sft(), data("sft", train_rows=24), tmp_path, steps=-1, max_epochs=3, **often)
    assert validated == [4, 8]  # of 9, 3 in an epoch


def test_a_validation_may_be_due_by_the_clock(make_sft, tmp_path):
    often = {"val_check_interval": "00:01:00:00", "limit_val_batches": 1}
    trainer = fit(make_sft(), data("sft", train_rows=24), tmp_path, steps=2, **often)
    assert trainer.global_step == 2
