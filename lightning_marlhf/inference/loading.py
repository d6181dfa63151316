"""Resolves a model name (run, export, checkpoint, Hugging Face folder or Hub id) and loads it.

Nothing here rebuilds the module of a run: the caller gives the function that exports a checkpoint.
"""

import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase
from transformers.generation.streamers import BaseStreamer

from lightning_marlhf.data.collate import Padder
from lightning_marlhf.data.examples import TokenizedPrompt
from lightning_marlhf.display.text import printable
from lightning_marlhf.files import read_json
from lightning_marlhf.hub import chat_template
from lightning_marlhf.hub.tokenizer import encode_prompts, load_tokenizer
from lightning_marlhf.models.backbone import context_length
from lightning_marlhf.models.loading import load_causal_lm
from lightning_marlhf.models.policy import Policy
from lightning_marlhf.rollout.generation import SamplingSettings, generate
from lightning_marlhf.run_folder import CHECKPOINTS, DONE_FILE, EXPORT, LAST
from lightning_marlhf.tasks.dialogue import Turn
from lightning_marlhf.types import Rollout

Exporter = Callable[[Path, Path, Path], int]
"""Exports a checkpoint: (run directory, checkpoint, new Hugging Face folder) -> optimizer updates before it."""


@dataclass(frozen=True)
class ModelFolder:
    """Source of a model."""

    source: str  # a Hugging Face folder, or a Hub id
    step: int | None  # optimizer updates of its run; None: unknown


@contextmanager
def model_folder(model: str, *, exporter: Exporter) -> Iterator[ModelFolder]:
    """Find the Hugging Face folder of a run, or export a checkpoint to one, which is deleted at the end.

    Any other name is returned unchanged.

    Raises:
        ValueError: A run directory without an export, or no such checkpoint.
    """
    path = Path(model).expanduser()
    if path.suffix == ".ckpt":
        if not path.exists():
            raise ValueError(f"no checkpoint {model}")
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch) / EXPORT
            step = exporter(path.resolve().parents[1], path, folder)
            yield ModelFolder(str(folder), step)
    elif export := find_export(path):
        done = export.parent / DONE_FILE
        step = read_json(done).get("step") if export.name == EXPORT and done.is_file() else None
        yield ModelFolder(str(export), step if isinstance(step, int) else None)
    elif (path / CHECKPOINTS).is_dir():
        raise ValueError(
            f"{model} has no export/ yet, as its run is not finished: name its checkpoint, {path / CHECKPOINTS / LAST}"
        )
    else:
        if sys.stderr.isatty() and not path.exists():
            sys.stderr.write(printable(f"{model}: from the Hugging Face Hub, or its cache\n"))
        yield ModelFolder(model, None)


def find_export(path: Path) -> Path | None:
    """Find the export of a run directory; a Hugging Face folder is its own; None if there is none."""
    if (path / EXPORT).is_dir():
        return path / EXPORT
    return path if (path / "config.json").is_file() else None


def split_label(model: str) -> tuple[str, str | None]:
    """Split the name of a reward model: "MODEL#LABEL" names the label whose logit is the score.

    >>> split_label("owner/name#POSITIVE"), split_label("owner/name")
    (('owner/name', 'POSITIVE'), ('owner/name', None))
    """
    source, mark, label = model.rpartition("#")
    return (source, label) if mark and not Path(model).exists() else (model, None)


@dataclass(frozen=True)
class LanguageModel:
    """A language model with its tokenizer, ready to generate."""

    policy: Policy
    tokenizer: PreTrainedTokenizerBase
    device: str
    step: int | None  # optimizer updates of its run; None: unknown

    @property
    def max_positions(self) -> float:
        """Maximum tokens of a prompt and its response together."""
        return context_length(self.policy.lm)

    def tokenize(self, prompt: str | Sequence[Turn]) -> list[int]:
        """Tokenise a plain text, with BOS if the tokenizer adds one, or turns in the model's chat template.

        Raises:
            SourceError: The model has no chat template.
            RefusedDialogueError: The template refuses the dialogue.
        """
        if isinstance(prompt, str):
            return encode_prompts(self.tokenizer, [prompt])[0]
        text = chat_template.render(self.tokenizer, prompt, response_follows=True)
        return encode_prompts(self.tokenizer, [text], special_tokens=False)[0]

    @torch.inference_mode()
    def generate(
        self,
        rows: Sequence[TokenizedPrompt],
        *,
        settings: SamplingSettings,
        seeds: Tensor,
        streamer: BaseStreamer | None = None,
    ) -> Rollout:
        """Sample one response per row; ``seeds`` are int64 [rows]."""
        return generate(
            self.policy,
            Padder(self.tokenizer.pad_token_id).prompts(rows).to(self.device),
            tokenizer=self.tokenizer,
            settings=settings,
            seeds=seeds,
            streamer=streamer,
        )


@contextmanager
def language_model(model: str, *, exporter: Exporter, device: str, dtype: str) -> Iterator[LanguageModel]:
    """Load a language model.

    Raises:
        ValueError: See `model_folder`.
        SourceError: The model cannot be loaded; one line says why.
    """
    with model_folder(model, exporter=exporter) as folder:
        tokenizer = load_tokenizer(folder.source, for_training=False)
        lm = load_causal_lm(folder.source, tokenizer, dtype=dtype)
        yield LanguageModel(Policy(lm.to(device)).eval(), tokenizer, device, folder.step)
