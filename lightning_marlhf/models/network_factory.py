"""Builds the networks of a run where they live: whole in one process, or sharded over many."""

from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from lightning_marlhf.models import backbone, fsdp
from lightning_marlhf.models.backbone import (
    has_score_head,
    label_index,
    load_causal_lm,
    load_sequence_classifier,
)
from lightning_marlhf.models.configs import ModelSource, seeded
from lightning_marlhf.models.fsdp import Sharding
from lightning_marlhf.models.heads import (
    Critic,
    PoolingClassifier,
    RewardNetwork,
    ScalarNetwork,
)
from lightning_marlhf.models.lora import LoRA, adapt, draw_adapters, is_adapter
from lightning_marlhf.models.policy import Policy
from lightning_marlhf.models.weight_files import download, fill_from

Network = TypeVar("Network", bound=nn.Module)


@dataclass(frozen=True)
class NetworkFactory:
    """Where networks live, and how they get there.

    A sharded network of a folder or Hub id is built on the meta device, and each process reads its own rows of the
    weights. One of an inline configuration is drawn whole in every process, so that it is the same for any number.

    Attributes:
        device: of this process; "meta" gives networks without weights.
        sharding: over all processes; None keeps networks whole.

    In all methods, ``seed`` is that of new heads and adapters, and of inline configurations without one; with ``lora``
    the network is frozen, and adapters learn.
    """

    device: torch.device
    sharding: Sharding | None = None

    def policy(
        self,
        source: ModelSource,
        tokenizer: PreTrainedTokenizerBase,
        *,
        dtype: str = "float32",
        seed: int = 0,
        lora: LoRA | None = None,
        learns: bool = True,
    ) -> Policy:
        """Build a policy; one that does not learn is a reference."""
        source = seeded(source, seed)
        skeleton = self._skeletons
        lm = load_causal_lm(source, tokenizer, dtype=dtype, skeleton=skeleton)
        policy = Policy(lm, check=False)
        if self.sharding is not None:
            policy.gathering = self.sharding.gathering
        return self._place(policy, source, seed=seed, lora=lora, learns=learns)

    def critic(
        self,
        source: ModelSource,
        tokenizer: PreTrainedTokenizerBase,
        *,
        dtype: str = "float32",
        seed: int = 0,
        lora: LoRA | None = None,
    ) -> Critic:
        """Build a critic from a reward model, head and all."""
        source = seeded(source, seed)
        classifier = self._classifier(source, tokenizer, dtype=dtype, seed=seed)
        critic = Critic(classifier, check=False)
        return self._place(critic, source, seed=seed, lora=lora)

    def critic_of_policy(
        self,
        source: ModelSource,
        tokenizer: PreTrainedTokenizerBase,
        *,
        dtype: str = "float32",
        seed: int = 0,
        lora: LoRA | None = None,
    ) -> Critic:
        """Build a critic from a policy's body, with a head of zeros."""
        source = seeded(source, seed)
        skeleton = self._skeletons
        lm = load_causal_lm(source, tokenizer, dtype=dtype, skeleton=skeleton)
        critic = Critic.from_causal_lm(lm, check=False)
        critic = self._place(critic, source, seed=seed, lora=lora)
        fsdp.assign(critic.head.weight, lambda _: torch.zeros(()))
        return critic

    def reward_network(
        self,
        source: ModelSource,
        tokenizer: PreTrainedTokenizerBase,
        *,
        dtype: str = "float32",
        seed: int = 0,
        lora: LoRA | None = None,
        learns: bool = True,
    ) -> RewardNetwork:
        """Build a reward model that is to be trained."""
        source = seeded(source, seed)
        classifier = self._classifier(source, tokenizer, dtype=dtype, seed=seed)
        network = RewardNetwork(classifier, check=False)
        return self._place(network, source, seed=seed, lora=lora, learns=learns)

    def scoring_network(
        self,
        source: str,
        tokenizer: PreTrainedTokenizerBase,
        *,
        dtype: str = "float32",
        label: int | str | None = None,
    ) -> RewardNetwork | PoolingClassifier:
        """Build a reward model that only scores, of any architecture; ``label`` is the one whose logit is the score."""
        options = {"dtype": dtype, "label": label, "new_head": False}
        classifier = self._classifier(source, tokenizer, **options)
        chosen = label_index(classifier.config, label, source=source)
        if not has_score_head(classifier):
            pooling = PoolingClassifier(classifier, label=chosen)
            return self._place(pooling, source, seed=0, lora=None, learns=False)
        network = RewardNetwork(classifier, label=chosen, check=False)
        return self._place(network, source, seed=0, lora=None, learns=False)

    @property
    def _skeletons(self) -> bool:
        return self.sharding is not None or self.device.type == "meta"

    def _classifier(
        self, source: ModelSource, tokenizer: PreTrainedTokenizerBase, **options: Any
    ) -> PreTrainedModel:
        skeleton = self._skeletons
        return load_sequence_classifier(source, tokenizer, skeleton=skeleton, **options)

    def _place(
        self,
        network: Network,
        source: ModelSource,
        *,
        seed: int,
        lora: LoRA | None,
        learns: bool = True,
    ) -> Network:
        if lora is not None:
            adapt(fsdp.language_model(network), lora)
        if not learns:
            network.eval().requires_grad_(False)
        if self.sharding is None:
            network = network.to(self.device)
            if self.device.type == "meta":
                fsdp.language_model(network).tie_weights()  # which were torn apart on the way there
        else:
            self._shard(network, self.sharding, source, seed=seed, learns=learns)
        if self.device.type != "meta":
            if lora is not None:
                draw_adapters(network, seed=seed)
            if isinstance(network, Policy | ScalarNetwork | PoolingClassifier):
                network.check()
        return network

    def _shard(
        self,
        network: nn.Module,
        sharding: Sharding,
        source: ModelSource,
        *,
        seed: int,
        learns: bool,
    ) -> None:
        fsdp.shard(network, sharding, learns=learns)
        if isinstance(source, str):
            offloaded = sharding.offload_frozen and not learns
            weights_on = torch.device("cpu") if offloaded else self.device
            fsdp.materialize(network, weights_on=weights_on, buffers_on=self.device)
            model = fsdp.language_model(network)
            missing = fill_from(download(source), model)
            missing = {name for name in missing if not is_adapter(name)}
            backbone.complete(model, source, missing, seed=seed)
