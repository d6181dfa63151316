"""Builds the networks of a run on their device, optionally sharded."""

from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import nn
from transformers import PreTrainedTokenizerBase

from lightning_marlhf.models import fsdp
from lightning_marlhf.models.backbone import has_score_head
from lightning_marlhf.models.configs import ModelSource, seeded
from lightning_marlhf.models.fsdp import Sharding
from lightning_marlhf.models.heads import Critic, PoolingClassifier, RewardNetwork, ScalarNetwork
from lightning_marlhf.models.loading import init_new_head, label_index, load_causal_lm, load_sequence_classifier
from lightning_marlhf.models.lora import LoRA, adapt, draw_adapters, is_adapter
from lightning_marlhf.models.policy import Policy
from lightning_marlhf.models.weight_files import download, fill_from

Network = TypeVar("Network", Policy, Critic, RewardNetwork)
AnyNetwork = TypeVar("AnyNetwork", bound=nn.Module)


@dataclass(frozen=True)
class NetworkFactory:
    """Builds networks on a device, optionally sharded.

    A sharded network of a folder or Hub id is built on the meta device, and each process reads its own rows of the
    weights. One of an inline configuration is drawn in full on every rank, so that it is the same for any number.

    Attributes:
        device: Device of this process; "meta" gives networks without weights.
        sharding: over all processes; None does not shard.
    """

    device: torch.device
    sharding: Sharding | None = None

    def build(
        self,
        kind: type[Network],
        source: ModelSource,
        tokenizer: PreTrainedTokenizerBase,
        *,
        dtype: str = "float32",
        seed: int = 0,
        lora: LoRA | None = None,
        learns: bool = True,
    ) -> Network:
        """Build a policy from a language model, or a critic or reward network from a classifier, head and all.

        Args:
            kind: `Policy`, `Critic` or `RewardNetwork`.
            source: a folder, a Hub id, or an inline configuration.
            tokenizer: the run's.
            dtype: Dtype of the weights.
            seed: Seed of a new head, of adapters, and of an inline configuration without a seed.
            lora: freezes the network; adapters learn. None: all weights learn.
            learns: False for a network without gradients, such as a reference.

        Raises:
            SourceError: see `load_causal_lm` and `load_sequence_classifier`.
        """
        source = seeded(source, seed)
        if issubclass(kind, Policy):
            model = load_causal_lm(source, tokenizer, dtype=dtype, on_meta=self.on_meta)
        else:
            model = load_sequence_classifier(source, tokenizer, dtype=dtype, seed=seed, on_meta=self.on_meta)
        network = kind(model, check=False)
        return self._place(network, source, seed=seed, lora=lora, learns=learns)

    def critic_from_policy(
        self,
        source: ModelSource,
        tokenizer: PreTrainedTokenizerBase,
        *,
        dtype: str = "float32",
        seed: int = 0,
        lora: LoRA | None = None,
    ) -> Critic:
        """Build a critic from a policy's body, with a head of zeros; arguments as those of `build`."""
        source = seeded(source, seed)
        lm = load_causal_lm(source, tokenizer, dtype=dtype, on_meta=self.on_meta)
        critic = Critic.from_causal_lm(lm, check=False)
        critic = self._place(critic, source, seed=seed, lora=lora, learns=True)
        fsdp.assign(critic.head.weight, lambda _: torch.zeros(()))
        return critic

    def scoring_network(
        self, source: str, tokenizer: PreTrainedTokenizerBase, *, dtype: str = "float32", label: int | str | None = None
    ) -> RewardNetwork | PoolingClassifier:
        """Build a reward model that only scores, of any architecture; ``label`` is the one whose logit is the score."""
        classifier = load_sequence_classifier(
            source, tokenizer, dtype=dtype, label=label, new_head=False, on_meta=self.on_meta
        )
        chosen = label_index(classifier.config, label, source=source)
        network: RewardNetwork | PoolingClassifier
        if has_score_head(classifier):
            network = RewardNetwork(classifier, label=chosen, check=False)
        else:
            network = PoolingClassifier(classifier, label=chosen)
        return self._place(network, source, seed=0, lora=None, learns=False)

    @property
    def on_meta(self) -> bool:
        """Networks are built without weights, to be sharded or to stay so."""
        return self.sharding is not None or self.device.type == "meta"

    def _place(
        self, network: AnyNetwork, source: ModelSource, *, seed: int, lora: LoRA | None, learns: bool
    ) -> AnyNetwork:
        """Adapt, freeze and shard a network, move it to the device, and check it there."""
        if lora is not None:
            adapt(fsdp.language_model(network), lora)
        if not learns:
            network.eval().requires_grad_(False)
        if self.sharding is None:
            network = network.to(self.device)
            if self.device.type == "meta":
                fsdp.language_model(network).tie_weights()  # moving to meta unties them
        else:
            self._shard(network, self.sharding, source, seed=seed, learns=learns)
        if self.device.type != "meta":
            if lora is not None:
                draw_adapters(network, seed=seed)
            if isinstance(network, Policy | ScalarNetwork | PoolingClassifier):
                network.check()
        return network

    def _shard(self, network: nn.Module, sharding: Sharding, source: ModelSource, *, seed: int, learns: bool) -> None:
        """Shard a network, and let this process read its rows of the weights."""
        if isinstance(network, Policy):
            network.gathering = sharding.gathering
        fsdp.shard(network, sharding, learns=learns)
        if isinstance(source, str):
            offloaded = sharding.offload_frozen and not learns
            weights_on = torch.device("cpu") if offloaded else self.device
            fsdp.materialize(network, weights_on=weights_on, buffers_on=self.device)
            model = fsdp.language_model(network)
            missing = fill_from(download(source), model)
            missing = {name for name in missing if not is_adapter(name)}
            init_new_head(model, source, missing, seed=seed)
