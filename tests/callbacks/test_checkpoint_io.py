import errno
import io

import pytest
import torch

from lightning_marlhf.callbacks import checkpoint_io as checkpoint_file
from lightning_marlhf.callbacks.checkpoint import Checkpoint
from lightning_marlhf.callbacks.checkpoint_io import DirectCheckpointIO


class Full(io.BytesIO):
    """A file on a disk with room for 300 bytes."""

    def write(self, data):
        if self.tell() + len(data) > 300:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(data)


@pytest.fixture
def full_disk(monkeypatch):
    class FullPath(type(checkpoint_file.Path())):
        def open(self, mode="r", *args, **kwargs):
            super().touch()
            return Full()

    return lambda: monkeypatch.setattr(checkpoint_file, "Path", FullPath)


def test_what_is_written_is_read_again(tmp_path):
    DirectCheckpointIO().save_checkpoint({"x": torch.ones(3)}, tmp_path / "new" / "a.ckpt")
    assert torch.load(tmp_path / "new" / "a.ckpt")["x"].tolist() == [1, 1, 1]


def test_a_full_disk_is_named_and_leaves_the_checkpoint_before(
    tmp_path, tiny_module, tiny_data, make_trainer, full_disk
):
    trainer = make_trainer(tmp_path, Checkpoint(every_n_train_steps=8), enable_checkpointing=True)
    trainer.strategy.checkpoint_io = DirectCheckpointIO()
    module = tiny_module()
    module.hook = lambda step: full_disk() if step == 16 else None
    with pytest.raises(OSError, match=r"No space left on device: .*last\.ckpt\.partial") as caught:
        trainer.fit(module, datamodule=tiny_data())
    assert caught.value.errno == errno.ENOSPC
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["last.ckpt"]
    assert torch.load(tmp_path / "checkpoints/last.ckpt", weights_only=False)["global_step"] == 8
