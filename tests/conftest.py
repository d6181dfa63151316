"""Every test is a function of the commit; and fixtures for all: a character tokenizer, tiny random models."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from tests.isolation import isolate
from tests.skipped import pytest_addoption, pytest_sessionfinish  # noqa: F401  # hooks

isolate(gpu="gpu" in sys.argv)  # before the first import that reads the environment

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from lightning_marlhf.data.tokenizers import character_tokenizer
from lightning_marlhf.models.configs import ModelConfig
from lightning_marlhf.models.loading import load_causal_lm, load_sequence_classifier

torch.set_num_threads(1)  # on tensors this small, threads only wait for each other
# Without its database of failures, which lies in the checkout, and with the same examples every time.
hypothesis.settings.register_profile("repeatable", derandomize=True, database=None, deadline=None)
hypothesis.settings.load_profile("repeatable")

LLAMA = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
}
FAMILIES: dict[str, dict[str, Any]] = {
    "gemma": {"model_type": "gemma", **LLAMA, "head_dim": 8, "initializer_range": 0.3},
    "gemma2": {
        "model_type": "gemma2",
        **LLAMA,
        "head_dim": 8,
        "initializer_range": 0.3,
        "final_logit_softcapping": 3.0,
        "attn_logit_softcapping": 5.0,
        "sliding_window": 6,
    },
    "llama": {
        "model_type": "llama",
        **LLAMA,
        "attention_dropout": 0.3,
        "initializer_range": 0.3,
        "tie_word_embeddings": False,
    },
    "gpt2": {
        "model_type": "gpt2",
        "n_embd": 32,
        "n_layer": 2,
        "n_head": 4,
        "n_positions": 64,
        "initializer_range": 0.3,
        "resid_pdrop": 0.3,
        "attn_pdrop": 0.3,
        "embd_pdrop": 0.3,
    },
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest tests first; those of several processes share launches, and stay with one worker there."""
    items.sort(key=lambda item: not {"distributed", "integration"} & set(item.path.parts))


@pytest.fixture(autouse=True)
def empty_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Run every test in an empty folder: the checkout may hold runs."""
    with pytest.MonkeyPatch.context() as patch:  # not the test's own, which it may undo
        patch.chdir(tmp_path_factory.mktemp("empty"))
        yield


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerBase:
    return character_tokenizer("abcdefghijklmnopqrstuvwxyz .")


@pytest.fixture(params=sorted(FAMILIES))
def family(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="session")
def make_lm(tokenizer: PreTrainedTokenizerBase) -> Callable[..., PreTrainedModel]:
    """Build a tiny random language model: make_lm("gemma", seed=1, dtype="float32")."""

    def make(name: str = "gemma", *, seed: int = 0, dtype: str = "float32") -> PreTrainedModel:
        return load_causal_lm(ModelConfig(FAMILIES[name], seed=seed), tokenizer, dtype=dtype)

    return make


@pytest.fixture(scope="session")
def make_classifier(tokenizer: PreTrainedTokenizerBase) -> Callable[..., PreTrainedModel]:
    """Build a tiny random one-label classifier, as ``make_lm`` does."""

    def make(name: str = "gemma", *, seed: int = 0, dtype: str = "float32") -> PreTrainedModel:
        return load_sequence_classifier(ModelConfig(FAMILIES[name], seed=seed), tokenizer, dtype=dtype)

    return make


@pytest.fixture
def make_rows() -> Callable[..., tuple[torch.Tensor, torch.Tensor]]:
    """Build ragged random rows: left padding, a prompt, four response tokens, right padding.

    make_rows(left=n, right=m) gives the same real tokens with n and m more columns of padding.
    """

    def make(*, left: int = 0, right: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
        ids = torch.randint(4, 32, (3, 10), generator=torch.Generator().manual_seed(0))
        mask = torch.ones(3, 10, dtype=torch.bool)
        mask[1, :3] = False
        mask[2, :1] = False
        mask[2, 8:] = False
        ids = torch.nn.functional.pad(ids * mask, (left, right))
        return ids, torch.nn.functional.pad(mask, (left, right))

    return make


@pytest.fixture
def toy_yaml(tmp_path, monkeypatch) -> Path:
    """A whole run of the toy module; its class paths can be imported."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    path = tmp_path / "toy.yaml"
    path.write_text(
        f"""
trainer:
  default_root_dir: {tmp_path}/run
  max_steps: 4
  accelerator: cpu
  logger: false
model:
  class_path: toy_run.Toy
  init_args:
    source: somewhere
    condition: {{class_path: toy_run.Fixed, init_args: {{n: 3}}}}
data:
  class_path: toy_run.ToyData
  init_args: {{rows: 8}}
progress: {{line_every_s: 1000.0}}
checkpoint: {{every_n_train_steps: 2}}
"""
    )
    return path
