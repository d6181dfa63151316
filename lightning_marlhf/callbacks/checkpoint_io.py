"""How a checkpoint that is one file is written and read."""

from pathlib import Path
from typing import Any

from lightning.fabric.plugins.io import TorchCheckpointIO

from lightning_marlhf.models.checkpoint_data import broken, read_checkpoint, write_data

_PARTS = {"state_dict": dict, "optimizer_states": list, "loops": dict, "callbacks": dict}


class DirectCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint where it belongs, and reads it as data.

    Lightning's way of writing makes a copy of it in memory and another in /tmp, and neither may have room for it.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        """Write it.

        Raises:
            OSError: the disk is full, or the like; names ``path``.
            ValueError: it holds something else than data.
        """
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        write_data(checkpoint, Path(path))

    def load_checkpoint(
        self, path: str | Path, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read it onto the CPU, as data alone, whatever the arguments say.

        Raises:
            BrokenCheckpointError: it cannot be read, or holds something else than data, or not all of a run's state.
        """
        state = read_checkpoint(Path(path))
        for name, kind in _PARTS.items():
            part = state.get(name)
            if not isinstance(part, kind) or not part:
                raise broken(path, f"is not whole: no {name}")
        return state
