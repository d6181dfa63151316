"""The policy: a causal language model with two entry points, ``forward`` and ``generate``.

``forward`` returns log-probabilities of given tokens, ``generate`` samples new ones. This module is the
FSDP root. The full-vocabulary logits of a batch never exist: the head is applied to the hidden
states before response tokens only, and there in chunks.
"""

import math
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel

from lightning_marlhf.models import self_check
from lightning_marlhf.models.backbone import hidden_states
from lightning_marlhf.models.fsdp import Gathering
from lightning_marlhf.ops import logprobs
from lightning_marlhf.types import TokenLogprobs

# Config keys by which model families scale or cap their logits; `self_check` verifies at loading that none is
# missing. Cohere and Falcon-H1 multiply, Granite and Inkling divide, Gemma-2, RecurrentGemma and xLSTM cap.
_FACTORS = ("logit_scale", "lm_head_multiplier")
_DIVISORS = ("logits_scaling", "logits_mup_width_multiplier")
_SOFTCAPS = ("final_logit_softcapping", "logits_soft_cap", "output_logit_soft_cap")


class Policy(nn.Module):
    """A causal language model as RLHF sees it.

    The log-probabilities are those of the model's full distribution, over all rows of its head. Sampling may leave out
    some tokens (top-k, top-p, ids that are no token of the tokenizer); policy and reference are compared on what was
    sampled over the same full distribution, so ratios begin at 1 and KL is between the two models.

    Args:
        lm: the Hugging Face model.
        chunk: how many tokens' logits exist at once.
        check: compare ``forward`` with the model's own logits at once (see `self_check`); skipped on the meta device.

    Attributes:
        fsdp_entry_points: methods, in addition to ``forward``, before which sharded weights are gathered.
        gathering: how they are gathered for a rollout, if sharded.

    Raises:
        SourceError: if the family does something to its logits, or to padding, that ``forward`` does not reproduce.
    """

    fsdp_entry_points = ("generate", "states")
    gathering: Gathering = "rollout"

    def __init__(self, lm: PreTrainedModel, *, chunk: int = 1024, check: bool = True) -> None:
        super().__init__()
        self.lm = lm
        self.chunk = chunk
        if check and lm.device.type != "meta":
            self.check()

    def check(self) -> None:
        """Refuse a model whose log-probabilities ``forward`` does not reproduce; sharded ones, on all processes."""
        self_check.check_states(self, self.lm)
        self_check.check_logprobs(self, self.lm)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        *,
        num_targets: int,
        temperature: float,
        with_entropy: bool = True,
    ) -> TokenLogprobs:
        """Compute the log-probabilities of each row's last tokens, in fp32 or better, with gradients.

        Args:
            input_ids: [batch, seq]: left padding, prompt, response, right padding.
            attention_mask: [batch, seq], True on real tokens.
            num_targets: number of target tokens at the end of each row, padding included.
            temperature: the logits are divided by it.
            with_entropy: without it, the entropy is 0.

        Returns:
            Log-probabilities and entropies [batch, num_targets]; on padding they mean nothing.

        Raises:
            ValueError: unless 1 <= num_targets < seq.
        """
        check_num_targets(input_ids, num_targets)
        hidden = hidden_states(self.lm, input_ids, attention_mask)[:, -num_targets - 1 : -1]
        head = self.lm.get_output_embeddings()
        scale, softcap = _after_head(self.lm.config.get_text_config())
        return logprobs.from_hidden(
            hidden,
            head.weight,
            input_ids[:, -num_targets:],
            bias=head.bias,
            temperature=temperature / scale,  # cap * tanh(scale * x / cap) / temperature
            softcap=None if softcap is None else softcap / scale,
            chunk=self.chunk,
            with_entropy=with_entropy,
        )

    def generate(self, input_ids: Tensor, attention_mask: Tensor, **kwargs: Any) -> Tensor:
        """Call the model's own ``generate``: [batch, seq] -> [batch, seq + new]."""
        return self.lm.generate(input_ids=input_ids, attention_mask=attention_mask, **kwargs)

    def states(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Return the hidden states before the head: [batch, seq] -> [batch, seq, hidden]."""
        return hidden_states(self.lm, input_ids, attention_mask)


def _after_head(config: PreTrainedConfig) -> tuple[float, float | None]:
    """Return the factor of the logits, and their soft-cap after it."""

    def settings(names: tuple[str, ...]) -> list[float]:
        found = (getattr(config, name, None) for name in names)
        return [float(value) for value in found if isinstance(value, int | float) and value]

    scale = math.prod(settings(_FACTORS)) / math.prod(settings(_DIVISORS))
    return scale, next(iter(settings(_SOFTCAPS)), None)


def check_num_targets(input_ids: Tensor, num_targets: int) -> None:
    """Refuse a number of targets for which there is no state before the first one."""
    width = input_ids.shape[1]
    if not 1 <= num_targets < width:
        raise ValueError(f"num_targets: expected 1 to {width - 1} for rows of {width}, got {num_targets}")
