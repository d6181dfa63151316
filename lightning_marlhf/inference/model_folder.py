"""Models as users name them: a run directory, an export, a checkpoint of a run, any Hugging Face folder, a Hub id."""

import argparse
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lightning_marlhf.display.text import printable
from lightning_marlhf.files import read_json
from lightning_marlhf.run_folder import CHECKPOINTS, DONE_FILE, EXPORT

MODEL_HELP = (
    "run directory, export/ folder, .ckpt of a run, Hugging Face folder, or Hub id (owner/name)"
)
REWARD_MODEL_HELP = (
    f"sequence classifier: {MODEL_HELP}; of several labels, MODEL#LABEL names the one whose logit is "
    "the score"
)


@dataclass(frozen=True)
class ModelFolder:
    """Where a model can be loaded from."""

    source: str  # a Hugging Face folder, or a Hub id
    step: int | None  # optimizer updates of its run; None: not known


@contextmanager
def model_folder(model: str) -> Iterator[ModelFolder]:
    """Find the Hugging Face folder of a run or make one from a checkpoint; anything else is taken as it is.

    Raises:
        ValueError: a run directory without an export, or no such checkpoint.
    """
    path = Path(model).expanduser()
    if path.suffix == ".ckpt":
        if not path.exists():
            raise ValueError(f"no checkpoint {model}")
        from lightning_marlhf.commands.export import export_checkpoint

        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch) / EXPORT
            step = export_checkpoint(path.resolve().parents[1], path, folder)
            yield ModelFolder(str(folder), step)
    elif export := find_export(path):
        yield ModelFolder(str(export), _step(export))
    elif (path / CHECKPOINTS).is_dir():
        raise ValueError(
            f"{model} has no export/ yet, as its run is not finished: name its checkpoint, "
            f"{path / CHECKPOINTS / 'last.ckpt'}"
        )
    else:
        if sys.stderr.isatty() and not path.exists():
            sys.stderr.write(printable(f"{model}: from the Hugging Face Hub, or its cache\n"))
        yield ModelFolder(model, None)


def find_export(path: Path) -> Path | None:
    """Find the export of a run directory; a Hugging Face folder is its own; None where there is none."""
    if (path / EXPORT).is_dir():
        return path / EXPORT
    return path if (path / "config.json").is_file() else None


def _step(export: Path) -> int | None:
    done = export.parent / DONE_FILE
    if export.name != EXPORT or not done.is_file():
        return None
    step = read_json(done).get("step")
    return step if isinstance(step, int) else None


def add_dtype_option(parser: argparse.ArgumentParser) -> None:
    """Add `--dtype`."""
    parser.add_argument(
        "--dtype",
        default="auto",
        choices=["auto", "float32", "bfloat16", "float16"],
        help="of the weights; auto (default): bfloat16 on a GPU, else float32",
    )


def device_and_dtype(dtype: str) -> tuple[str, str]:
    """Choose where a model runs, and what ``auto`` means there."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    if dtype == "auto":
        dtype = "bfloat16" if device == "cuda" else "float32"
    return device, dtype
