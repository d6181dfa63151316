"""Builds the networks of a run where they live: whole in one process, or sharded over many."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from huggingface_hub import snapshot_download
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from lightning_marlhf.hub.sources import locate, reading
from lightning_marlhf.models import backbone, fsdp
from lightning_marlhf.models.backbone import load_causal_lm, load_sequence_classifier
from lightning_marlhf.models.configs import ModelSource, seeded
from lightning_marlhf.models.fsdp import Sharding
from lightning_marlhf.models.heads import Critic, RewardNetwork
from lightning_marlhf.models.policy import Policy
from lightning_marlhf.models.weight_files import fill_from

Network = TypeVar("Network", bound=nn.Module)


@dataclass(frozen=True)
class Placement:
    """Where networks live, and how they get there.

    A sharded network of a folder or Hub id is built on the meta device, and each process reads its own rows of the
    weights. One of an inline configuration is drawn whole in every process, so that it is the same for any number of them.

    Attributes:
        device: of this process; "meta" gives networks without weights.
        sharding: over all processes; None keeps networks whole.

    In all methods, ``seed`` is that of new heads, and of inline configurations without one.
    """

    device: torch.device = torch.device("cpu")
    sharding: Sharding | None = None

    def policy(
        self,
        source: ModelSource,
        tokenizer: PreTrainedTokenizerBase,
        *,
        dtype: str = "float32",
        seed: int = 0,
        learns: bool = True,
    ) -> Policy:
        """Build a policy; one that does not learn is a reference."""
        source = seeded(source, seed)
        skeleton = self._skeletons
        policy = Policy(load_causal_lm(source, tokenizer, dtype=dtype, skeleton=skeleton))
        if self.sharding is not None:
            policy.gathering = self.sharding.gathering
        return self._place(policy, source, learns=learns)

    def critic(
        self,
        source: ModelSource,
        tokenizer: PreTrainedTokenizerBase,
        *,
        dtype: str = "float32",
        seed: int = 0,
    ) -> Critic:
        """Build a critic from a reward model, head and all."""
        source = seeded(source, seed)
        critic = Critic(self._classifier(source, tokenizer, dtype=dtype, seed=seed))
        return self._place(critic, source, seed=seed)

    def critic_of_policy(
        self,
        source: ModelSource,
        tokenizer: PreTrainedTokenizerBase,
        *,
        dtype: str = "float32",
        seed: int = 0,
    ) -> Critic:
        """Build a critic from a policy's body, with a head of zeros."""
        source = seeded(source, seed)
        skeleton = self._skeletons
        lm = load_causal_lm(source, tokenizer, dtype=dtype, skeleton=skeleton)
        critic = self._place(Critic.from_causal_lm(lm), source)
        fsdp.assign(critic.head.weight, lambda _: torch.zeros(()))
        return critic

    def reward_network(
        self,
        source: ModelSource,
        tokenizer: PreTrainedTokenizerBase,
        *,
        dtype: str = "float32",
        seed: int = 0,
        learns: bool = True,
        new_head: bool = True,
    ) -> RewardNetwork:
        """Build a reward model; ``new_head`` False refuses one without a trained head."""
        source = seeded(source, seed)
        classifier = self._classifier(
            source, tokenizer, dtype=dtype, seed=seed, new_head=new_head
        )
        return self._place(RewardNetwork(classifier), source, seed=seed, learns=learns)

    @property
    def _skeletons(self) -> bool:
        return self.sharding is not None or self.device.type == "meta"

    def _classifier(
        self, source: ModelSource, tokenizer: PreTrainedTokenizerBase, **options: Any
    ) -> PreTrainedModel:
        skeleton = self._skeletons
        return load_sequence_classifier(source, tokenizer, skeleton=skeleton, **options)

    def _place(
        self, network: Network, source: ModelSource, *, seed: int = 0, learns: bool = True
    ) -> Network:
        if not learns:
            network.eval().requires_grad_(False)
        if self.sharding is None:
            return network.to(self.device)
        fsdp.shard(network, self.sharding, learns=learns)
        if isinstance(source, str):
            offloaded = self.sharding.offload_frozen and not learns
            weights_on = torch.device("cpu") if offloaded else self.device
            fsdp.materialize(network, weights_on=weights_on, buffers_on=self.device)
            model = fsdp.language_model(network)
            missing = fill_from(download(source), model)
            backbone.complete(model, source, missing, seed=seed)
        return network


def download(source: str) -> Path:
    """Find the folder of a model's weights; a Hub id is downloaded, once per node."""
    place = locate(source)
    if Path(place).is_dir():
        return Path(place)
    with reading(source):
        return Path(snapshot_download(place, allow_patterns=["*.json", "*.safetensors"]))
