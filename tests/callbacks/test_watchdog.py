import threading

import pytest

from lightning_marlhf.callbacks import watchdog
from lightning_marlhf.callbacks.watchdog import Watchdog
from tests.callbacks.tiny import TinyData, TinyModule, build_trainer

STEP = 8  # at which it hangs


def hang(until):
    """Make a module that hangs in its second batch until an event."""

    def wait_for_nothing(step):
        if step == STEP:
            until.wait(10)

    module = TinyModule()
    module.hook = wait_for_nothing
    module.phase = "generation"
    return module


def test_a_batch_that_does_not_end_is_reported_with_rank_update_phase_and_stacks(tmp_path, capfd):
    done = threading.Event()
    threading.Timer(1.0, done.set).start()
    trainer = build_trainer(tmp_path, Watchdog(timeout_s=0.4))
    trainer.fit(hang(done), datamodule=TinyData())
    said = capfd.readouterr().err
    assert "watchdog: rank 0 of 1: no batch has ended for 0.4 s; 8 updates done" in said
    assert "now in: generation" in said
    assert "in wait_for_nothing" in said
    assert said.count("watchdog:") >= 2  # again, while it goes on
    assert trainer.global_step == 24
    assert "watchdog" not in {thread.name for thread in threading.enumerate()}


def test_it_can_end_the_process_so_that_the_launcher_starts_it_again(tmp_path, monkeypatch):
    done, statuses = threading.Event(), []

    def end(status):
        statuses.append(status)
        done.set()

    monkeypatch.setattr(watchdog.os, "_exit", end)
    trainer = build_trainer(tmp_path, Watchdog(timeout_s=0.5, action="exit"))
    trainer.fit(hang(done), datamodule=TinyData())
    assert statuses == [75]


def test_it_is_silent_while_batches_end(tmp_path, capfd):
    build_trainer(tmp_path, Watchdog(timeout_s=30)).fit(TinyModule(), datamodule=TinyData())
    assert "watchdog" not in capfd.readouterr().err


def test_collectives_give_up_after_it_has_spoken(tmp_path):
    trainer = build_trainer(tmp_path, strategy="ddp", devices=1)
    Watchdog(timeout_s=100).set_collective_timeout(trainer)
    assert trainer.strategy._timeout.total_seconds() == 160


def test_a_timeout_of_nothing_is_refused():
    with pytest.raises(ValueError, match="timeout_s: expected more than 0"):
        Watchdog(timeout_s=0)
