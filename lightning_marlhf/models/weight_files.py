"""Weights in safetensors files, read row by row: a process reads its own shard only."""

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from safetensors import safe_open
from torch import Tensor
from transformers import PreTrainedModel

from lightning_marlhf.hub.sources import SourceError, locate, reading
from lightning_marlhf.models import fsdp


class WeightFiles:
    """The tensors of a Hugging Face folder by name; a context manager that keeps the files open.

    Args:
        folder: holds `*.safetensors`.

    Raises:
        SourceError: there are none, or one is broken.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = folder
        self._stack = ExitStack()
        self._files: dict[str, Any] = {}

    def __enter__(self) -> "WeightFiles":
        """Open the files."""
        paths = sorted(Path(self.folder).glob("[!.]*.safetensors"))
        if not paths:
            raise SourceError(
                f"{self.folder} has no *.safetensors, from which sharded models are read: expected such a folder; "
                "`save_pretrained` of transformers writes one"
            )
        for path in paths:
            try:
                file = self._stack.enter_context(safe_open(path, framework="pt"))
            except Exception as error:  # the library's own error, or the system's
                raise SourceError(f"{path} cannot be read: {error}") from None
            self._files |= dict.fromkeys(file.keys(), file)
        return self

    def __exit__(self, *_: object) -> None:
        """Close them."""
        self._stack.close()

    def find(self, name: str, *, prefix: str) -> str | None:
        """Find the name under which a weight is stored: its own, or with or without the prefix of the model's body."""
        name = name.replace(".base_layer.", ".")  # as LoRA calls what it adapts
        names = (name, name.removeprefix(f"{prefix}."), f"{prefix}.{name}")
        return next((n for n in names if n in self._files), None)

    def read(self, stored: str) -> Tensor:
        """Read a full tensor."""
        return self._files[stored].get_tensor(stored)  # type: ignore[no-any-return]

    def read_named(self, name: str, model: PreTrainedModel) -> Tensor:
        """Read a full weight of a model by the model's name for it.

        Raises:
            SourceError: it is not there.
        """
        stored = self.find(name, prefix=model.base_model_prefix)
        if stored is None:
            raise SourceError(f"{self.folder} lacks {name}: expected what the run started from")
        return self.read(stored)

    def fill(self, tensor: Tensor, stored: str) -> None:
        """Read this process's rows of a tensor.

        Raises:
            SourceError: the shapes differ.
        """
        part = self._files[stored].get_slice(stored)
        if part.get_shape() != list(tensor.shape):
            raise SourceError(f"{self.folder} has {stored} as {part.get_shape()}: expected {list(tensor.shape)}")
        fsdp.assign(tensor, lambda rows: part[rows] if tensor.ndim else self.read(stored))


@torch.no_grad()
def fill_from(folder: str | Path, model: PreTrainedModel) -> set[str]:
    """Read a model's weights, each process its rows, from a Hugging Face folder.

    Args:
        folder: holds the weights.
        model: sharded; has memory already.

    Returns:
        The names of weights that the folder lacks.
    """
    missing, seen = set(), set()
    with WeightFiles(folder) as files:
        for name, tensor in model.state_dict(keep_vars=True).items():
            if id(tensor) in seen:  # tied
                continue
            seen.add(id(tensor))
            stored = files.find(name, prefix=model.base_model_prefix)
            if stored is None:
                missing.add(name)
            else:
                files.fill(tensor, stored)
    return missing


def download(source: str) -> Path:
    """Find the folder of a model's weights; a Hub id is downloaded, once per node."""
    place = locate(source)
    if Path(place).is_dir():
        return Path(place)
    with reading(source):
        return Path(snapshot_download(place, allow_patterns=["*.json", "*.safetensors"]))
