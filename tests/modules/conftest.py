"""Tiny runs of every stage."""

from pathlib import Path

import pytest

from lightning_marlhf.modules import MAPPO, SFT, RewardModel
from lightning_marlhf.modules.ppo import PPO
from lightning_marlhf.rollout.generation import SamplingSettings
from lightning_marlhf.rollout.scoring import RewardModelScorer, TinyTLDRGold
from lightning_marlhf.rollout.termination import FixedNGram
from tests.modules.tiny_runs import CONFIG, FAST, write_exports


@pytest.fixture(scope="session")
def exports(tmp_path_factory) -> dict[str, Path]:
    """Folders of a random policy and a random reward model."""
    return write_exports(tmp_path_factory.mktemp("exports"))


@pytest.fixture
def make_ppo(exports):
    """Build MA-PPO on the random policy: make_ppo(ppo=PPO(...), micro_batch_size=4, ...)."""

    def make(**settings):
        defaults = {
            "policy": str(exports["policy"]),
            "critic": str(exports["reward"]),
            "scorer": RewardModelScorer(str(exports["reward"])),
            "auxiliary_scorers": [TinyTLDRGold()],
            "termination": FixedNGram(n=3),
            "sampling": SamplingSettings(max_new_tokens=8),
            "optimization": FAST,
            "ppo": PPO(epochs=1, minibatches=2),
        }
        return MAPPO(**defaults | settings)

    return make


@pytest.fixture
def make_sft():
    return lambda **settings: SFT(**{"model": CONFIG, "optimization": FAST} | settings)


@pytest.fixture
def make_reward_model():
    return lambda **settings: RewardModel(**{"model": CONFIG, "optimization": FAST, "center_rows": 8} | settings)
