"""The three stages as LightningModules, and the strategy that shards them."""

from lightning_marlhf.modules.ma_ppo import MAPPO
from lightning_marlhf.modules.reward_model import RewardModel
from lightning_marlhf.modules.sft import SFT
from lightning_marlhf.modules.sharded_strategy import ShardedStrategy

__all__ = ["MAPPO", "SFT", "RewardModel", "ShardedStrategy"]
