"""What all tests of several processes look at: each launch happens once."""

from pathlib import Path

import pytest

from tests.distributed.launch import launch
from tests.distributed.runs import part
from tests.modules.tiny_runs import write_exports

TWO = (
    "sft_losses",
    "reward_model_losses",
    "ppo_losses",
    "responses",
    "precision",
    "half_precision",
    "reading",
    "offloaded",
    "refused",
    "second_part",
    "stopped",
    "lora_losses",
    "lora_reward_model_losses",
    "lora_null_losses",
    "unscored_losses",
    "one_scorer_fails",
)
FOUR = ("third_part", "ppo_losses", "responses")


@pytest.fixture(scope="session")
def folder(tmp_path_factory) -> Path:
    """A folder with the exports that runs start from."""
    folder = tmp_path_factory.mktemp("distributed")
    write_exports(folder)
    return folder


@pytest.fixture(scope="session")
def one(folder):
    """The logs of the first batch of a run in one process, whose checkpoint the others go on from."""
    from tests.distributed.checks import sharded

    return part(folder, folder / "resumed", stop=4, resume=False, **sharded())


@pytest.fixture(scope="session")
def two(folder, one):
    """What two processes found."""
    return launch(2, folder, *TWO)


@pytest.fixture(scope="session")
def four(folder, two):
    """What four processes found."""
    return launch(4, folder, *FOUR)
