"""One number per state: the critic's values, and the reward model's score of a whole response.

Both wrap a one-label ``AutoModelForSequenceClassification``, so that any published reward model can
be used, and ours anywhere. Its own ``forward`` is not used: it looks for the last token by pad id,
not by mask.
"""

import copy
from typing import Self

import torch
from torch import Tensor, nn
from transformers import AutoModelForSequenceClassification, PreTrainedModel

from lightning_marlhf.models.backbone import hidden_states, score_head
from lightning_marlhf.models.policy import check_num_targets


class ScalarNetwork(nn.Module):
    """A body with a linear head of one output, applied to chosen states only and in fp32.

    Args:
        classifier: a one-label sequence classifier. ``classifier.config.reward_offset`` (0 where
            absent) is subtracted from what the head says.
    """

    def __init__(self, classifier: PreTrainedModel) -> None:
        super().__init__()
        labels = score_head(classifier).out_features
        if labels != 1:
            raise ValueError(f"classifier: expected one label, got {labels}")
        self.classifier = classifier

    @property
    def head(self) -> nn.Linear:
        """The linear head."""
        return score_head(self.classifier)

    @property
    def reward_offset(self) -> float:
        """What is subtracted from every score, so that (say) demonstrations score 0; is saved."""
        return float(getattr(self.classifier.config, "reward_offset", 0.0))

    @reward_offset.setter
    def reward_offset(self, offset: float) -> None:
        self.classifier.config.reward_offset = float(offset)

    def _apply_head(self, hidden: Tensor) -> Tensor:
        """Map hidden states [..., hidden] to numbers [...], in fp32 (float64 stays)."""
        head = self.head
        dtype = torch.promote_types(hidden.dtype, torch.float32)
        with torch.autocast(hidden.device.type, enabled=False):
            bias = None if head.bias is None else head.bias.to(dtype)
            scores = nn.functional.linear(hidden.to(dtype), head.weight.to(dtype), bias)
        return scores.squeeze(-1) - self.reward_offset


class Critic(ScalarNetwork):
    """Estimates the return from every state."""

    @classmethod
    def from_causal_lm(cls, lm: PreTrainedModel) -> Self:
        """Build a critic with a copy of the model's body and a head of zeros: all values are 0."""
        config = copy.deepcopy(lm.config)
        config.num_labels = 1
        with torch.random.fork_rng(devices=[]), lm.device:
            classifier = AutoModelForSequenceClassification.from_config(config, dtype=lm.dtype)
        body = getattr(lm, lm.base_model_prefix)
        getattr(classifier, classifier.base_model_prefix).load_state_dict(body.state_dict())
        nn.init.zeros_(score_head(classifier).weight)
        return cls(classifier)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, *, num_targets: int) -> Tensor:
        """Value the states before the last tokens of each row.

        Args:
            input_ids: [batch, seq]: left padding, prompt, response, right padding.
            attention_mask: [batch, seq], True on real tokens.
            num_targets: how many tokens at the end of each row, padding included.

        Returns:
            [batch, num_targets] values; index t is the state before target t, read at the position
            before it.

        Raises:
            ValueError: unless 1 <= num_targets < seq.
        """
        check_num_targets(input_ids, num_targets)
        hidden = hidden_states(self.classifier, input_ids, attention_mask)
        return self._apply_head(hidden[:, -num_targets - 1 : -1])


class RewardNetwork(ScalarNetwork):
    """Scores a prompt with its response."""

    doors = ("token_rewards",)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Score each row at its last real token.

        Args:
            input_ids: [batch, seq], padded on either side.
            attention_mask: [batch, seq], True on real tokens; the mask alone says which token is
                the last.

        Returns:
            [batch] scores.
        """
        hidden = hidden_states(self.classifier, input_ids, attention_mask)
        positions = torch.arange(input_ids.shape[1], device=input_ids.device)
        last = (positions * attention_mask).amax(dim=1)
        rows = torch.arange(len(input_ids), device=input_ids.device)
        return self._apply_head(hidden[rows, last])

    def token_rewards(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Score every prefix of each row: [batch, seq]; on padding the numbers mean nothing."""
        return self._apply_head(hidden_states(self.classifier, input_ids, attention_mask))
