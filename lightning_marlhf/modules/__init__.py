"""The three stages as LightningModules."""

from lightning_marlhf.modules.ma_ppo import MAPPO
from lightning_marlhf.modules.reward_model import RewardModel
from lightning_marlhf.modules.sft import SFT

__all__ = ["MAPPO", "SFT", "RewardModel"]
