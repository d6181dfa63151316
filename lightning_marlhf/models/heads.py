"""Scalar heads: the critic (a value per state) and the reward network (a score per response).

Both wrap an ``AutoModelForSequenceClassification``, so that any published reward model can be used, and
ours anywhere. Its own ``forward`` is not used if one linear layer scores every state: it looks for the
last token by pad id, not by mask. Encoders, which pool, are scored by their own ``forward`` and cannot be critics.
"""

import copy
from typing import Self

import torch
from torch import Tensor, nn
from transformers import AutoModelForSequenceClassification, PreTrainedModel

from lightning_marlhf.hub.sources import reading
from lightning_marlhf.models import self_check
from lightning_marlhf.models.backbone import body, hidden_states, score_head
from lightning_marlhf.models.loading import refuse_other_task
from lightning_marlhf.models.policy import check_num_targets


class ScalarNetwork(nn.Module):
    """A body with a linear head, one output of which is applied to chosen states only and in fp32.

    Args:
        classifier: a sequence classifier. ``classifier.config.reward_offset`` (0 if
            absent) is subtracted from the head's output.
        label: number of the output that is the score; None if there is only one.
        check: refuse at once a classifier whose states padding changes (see `self_check`); skipped on the meta device.

    Attributes:
        fsdp_entry_points: methods, in addition to ``forward``, before which sharded weights are gathered.

    Raises:
        SourceError: if its head is no linear layer called ``score``, or padding changes its states.
        ValueError: if it has several labels, and none is chosen.
    """

    fsdp_entry_points: tuple[str, ...] = ("states",)

    def __init__(self, classifier: PreTrainedModel, *, label: int | None = None, check: bool = True) -> None:
        super().__init__()
        labels = score_head(classifier).out_features
        if labels != 1 and label is None:
            raise ValueError(f"classifier: expected one label, got {labels}")
        self.classifier = classifier
        self.label = label or 0
        if check and classifier.device.type != "meta":
            self.check()

    def check(self) -> None:
        """Refuse a classifier whose states padding changes; sharded ones, on all processes."""
        self_check.check_states(self, self.classifier)

    def states(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Return the hidden states below the head: [batch, seq] -> [batch, seq, hidden]."""
        return hidden_states(self.classifier, input_ids, attention_mask)

    @property
    def head(self) -> nn.Linear:
        """The linear head."""
        return score_head(self.classifier)

    @property
    def reward_offset(self) -> float:
        """Subtracted from every score, so that demonstrations score 0 on average; saved in the config."""
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
        return scores[..., self.label] - self.reward_offset


class Critic(ScalarNetwork):
    """Estimates the return from every state."""

    @classmethod
    def from_causal_lm(cls, lm: PreTrainedModel, *, check: bool = True) -> Self:
        """Build a critic with a copy of the model's body and a head of zeros: all values are 0.

        Args:
            lm: the language model.
            check: as for any network here.

        Raises:
            SourceError: the family has no such classifier.
        """
        config = copy.deepcopy(lm.config)
        config.num_labels = 1
        name = f"a critic from {lm.name_or_path or type(lm).__name__}"
        refuse_other_task(AutoModelForSequenceClassification, config, name)
        with torch.random.fork_rng(devices=[]), lm.device, reading(name):
            classifier = AutoModelForSequenceClassification.from_config(config, dtype=lm.dtype)
            head = score_head(classifier)
            body(classifier).load_state_dict(body(lm).state_dict())
        nn.init.zeros_(head.weight)
        return cls(classifier, check=check)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, *, num_targets: int) -> Tensor:
        """Value the states before the last tokens of each row.

        Args:
            input_ids: [batch, seq]: left padding, prompt, response, right padding.
            attention_mask: [batch, seq], True on real tokens.
            num_targets: how many tokens at the end of each row, padding included.

        Returns:
            [batch, num_targets] values; index t is the state before target t, read at the position before it.

        Raises:
            ValueError: unless 1 <= num_targets < seq.
        """
        check_num_targets(input_ids, num_targets)
        hidden = hidden_states(self.classifier, input_ids, attention_mask)
        return self._apply_head(hidden[:, -num_targets - 1 : -1])


class RewardNetwork(ScalarNetwork):
    """Scores a prompt with its response."""

    fsdp_entry_points = ("token_rewards", *ScalarNetwork.fsdp_entry_points)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Score each row at its last real token.

        Args:
            input_ids: [batch, seq], padded on either side.
            attention_mask: [batch, seq], True on real tokens; the mask alone says which token is the last.

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


class PoolingClassifier(nn.Module):
    """Scores a prompt with its response by the classifier's own ``forward``, for encoders.

    Args:
        classifier: a sequence classifier of any architecture. ``classifier.config.reward_offset`` (0 if absent) is
            subtracted from the logit.
        label: number of the one whose logit is the score.
    """

    def __init__(self, classifier: PreTrainedModel, *, label: int | None = None) -> None:
        super().__init__()
        self.classifier = classifier
        self.label = label or 0

    def check(self) -> None:
        """Refuse a classifier whose scores padding changes; sharded ones, on all processes."""
        self_check.check_scores(self, self.classifier)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Score each row.

        Args:
            input_ids: [batch, seq], padded on either side.
            attention_mask: [batch, seq], True on real tokens.

        Returns:
            [batch] scores, in fp32 or better.
        """
        to_the_right = (~attention_mask).long().argsort(dim=1, stable=True)
        width = int(attention_mask.sum(dim=1).max())
        ids = input_ids.gather(1, to_the_right)[:, :width]
        mask = attention_mask.gather(1, to_the_right)[:, :width]
        ids = ids.masked_fill(~mask, self.classifier.config.pad_token_id)
        logits = self.classifier(input_ids=ids, attention_mask=mask.long()).logits
        offset = float(getattr(self.classifier.config, "reward_offset", 0.0))
        scores: Tensor = logits[:, self.label].to(torch.promote_types(logits.dtype, torch.float32))
        return scores - offset
