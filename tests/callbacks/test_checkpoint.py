import errno
import io
import multiprocessing
import os
import signal
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch import Callback

from lightning_marlhf.callbacks import checkpoint
from lightning_marlhf.callbacks.checkpoint import Checkpoint, DirectCheckpointIO, _replace
from lightning_marlhf.models.find_checkpoint import last_checkpoint
from tests.callbacks.tiny import TinyData, TinyModule, build_trainer


def step_of(path: Path) -> int:
    return torch.load(path, weights_only=False)["global_step"]


class Saves(Callback):
    """Notes at which steps `last.ckpt` was there and of which step it was."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "checkpoints" / "last.ckpt"
        self.seen: list[tuple[int, int]] = []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if self.path.exists():
            self.seen.append((trainer.global_step, step_of(self.path)))


def test_last_is_saved_once_enough_updates_passed_though_steps_jump(tmp_path):
    saves = Saves(tmp_path)
    trainer = build_trainer(tmp_path, saves, Checkpoint(every_n_train_steps=6), enable_checkpointing=True)
    trainer.fit(TinyModule(), datamodule=TinyData())
    # batches end at 4, 8, 12, ...: 6 updates have passed at 8, then again at 16
    assert saves.seen == [(8, 8), (12, 8), (16, 16), (20, 16)]
    assert step_of(saves.path) == 24  # saved at the end of the fit
    assert [p.name for p in saves.path.parent.iterdir()] == ["last.ckpt"]


def test_a_resumed_run_counts_from_its_checkpoint(tmp_path):
    build_trainer(tmp_path, Checkpoint(every_n_train_steps=100), enable_checkpointing=True, max_steps=8).fit(
        TinyModule(), datamodule=TinyData()
    )
    saves = Saves(tmp_path)
    again = build_trainer(tmp_path, saves, Checkpoint(every_n_train_steps=8), enable_checkpointing=True)
    again.fit(TinyModule(), datamodule=TinyData(), ckpt_path="last")
    assert saves.seen == [(8, 8), (12, 8), (16, 16), (20, 16)]


def test_the_best_by_a_validation_metric_is_kept_beside_the_last(tmp_path):
    checkpoint = Checkpoint(every_n_train_steps=100, monitor="eval/gold")
    options = {"limit_val_batches": 2, "val_check_interval": 1, "check_val_every_n_epoch": None}
    trainer = build_trainer(tmp_path, checkpoint, enable_checkpointing=True, **options)
    trainer.fit(TinyModule(), datamodule=TinyData())
    names = sorted(p.name for p in (tmp_path / "checkpoints").iterdir())
    assert names == ["best-000008.ckpt", "last.ckpt"]


def test_where_a_validation_follows_last_is_saved_after_it(tmp_path):
    """A kill in between would otherwise lose the validation: a resumed run does not make up for it."""
    seen = []

    class AtValidation(Saves):
        def on_validation_start(self, trainer, pl_module):
            seen.append((trainer.global_step, step_of(self.path) if self.path.exists() else None))

    checkpoint = Checkpoint(every_n_train_steps=4)
    options = {"limit_val_batches": 2, "val_check_interval": 2, "check_val_every_n_epoch": None}
    saves = AtValidation(tmp_path)
    trainer = build_trainer(tmp_path, saves, checkpoint, enable_checkpointing=True, **options)
    trainer.fit(TinyModule(), datamodule=TinyData())
    assert seen == [(8, 4), (16, 12), (24, 20)]
    assert saves.seen == [(4, 4), (8, 8), (12, 12), (16, 16), (20, 20)]


def test_a_wrong_cadence_is_refused():
    with pytest.raises(ValueError, match="every_n_train_steps: expected at least 1, got 0"):
        Checkpoint(every_n_train_steps=0)


def test_a_sharded_checkpoint_replaces_another_whole(tmp_path):
    for name in ("last.ckpt", ".last.ckpt.partial"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "shard").write_text(name)
    _replace(tmp_path / ".last.ckpt.partial", tmp_path / "last.ckpt")
    assert (tmp_path / "last.ckpt" / "shard").read_text() == ".last.ckpt.partial"
    assert [p.name for p in tmp_path.iterdir()] == ["last.ckpt"]


def save_and_be_killed(folder):
    class KilledTrainer:
        is_global_zero, loggers, fast_dev_run, global_step = True, [], False, 0
        strategy = SimpleNamespace(barrier=lambda name: None)

        def save_checkpoint(self, path):
            if self.global_step == 0:
                torch.save({"global_step": 0}, path)
            else:
                path.write_bytes(b"half a checkpoi")
                os.kill(os.getpid(), signal.SIGKILL)

    saver, trainer = Checkpoint(dirpath=str(folder)), KilledTrainer()
    saver.save_last_checkpoint(trainer)
    trainer.global_step = 4
    saver.save_last_checkpoint(trainer)


def test_a_kill_in_the_middle_of_a_save_leaves_the_one_before(tmp_path):
    process = multiprocessing.get_context("fork").Process(target=save_and_be_killed, args=[tmp_path])
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert step_of(tmp_path / "last.ckpt") == 0


def test_a_kill_between_two_renames_leaves_the_checkpoint_before(tmp_path):
    """The old folder has another name already, the new one has not its own yet."""
    (tmp_path / "last-previous.ckpt").mkdir()
    (tmp_path / ".last.ckpt.partial").mkdir()
    assert last_checkpoint(tmp_path) == tmp_path / "last-previous.ckpt"
    _replace(tmp_path / ".last.ckpt.partial", tmp_path / "last.ckpt")
    assert [p.name for p in tmp_path.iterdir()] == ["last.ckpt"]
    assert last_checkpoint(tmp_path / "nowhere") is None


class Full(io.BytesIO):
    """A file on a disk with room for 300 bytes."""

    def write(self, data):
        if self.tell() + len(data) > 300:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(data)


@pytest.fixture
def full_disk(monkeypatch):
    class FullPath(type(checkpoint.Path())):
        def open(self, mode="r", *args, **kwargs):
            super().touch()
            return Full()

    return lambda: monkeypatch.setattr(checkpoint, "Path", FullPath)


def test_what_is_written_is_read_again(tmp_path):
    DirectCheckpointIO().save_checkpoint({"x": torch.ones(3)}, tmp_path / "new" / "a.ckpt")
    assert torch.load(tmp_path / "new" / "a.ckpt")["x"].tolist() == [1, 1, 1]


def test_a_full_disk_is_named_and_leaves_the_checkpoint_before(tmp_path, full_disk):
    trainer = build_trainer(tmp_path, Checkpoint(every_n_train_steps=8), enable_checkpointing=True)
    trainer.strategy.checkpoint_io = DirectCheckpointIO()
    module = TinyModule()
    module.hook = lambda step: full_disk() if step == 16 else None
    with pytest.raises(OSError, match=r"No space left on device: .*last\.ckpt\.partial") as caught:
        trainer.fit(module, datamodule=TinyData())
    assert caught.value.errno == errno.ENOSPC
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["last.ckpt"]
    assert torch.load(tmp_path / "checkpoints/last.ckpt", weights_only=False)["global_step"] == 8
