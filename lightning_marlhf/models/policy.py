"""The policy: a causal language model with two doors, ``forward`` and ``generate``.

The first gives the log-probabilities of given tokens, the second new tokens. This is the unit that
sharding wraps. The full-vocabulary logits of a batch never exist: the head is applied to the hidden
states before response tokens only, and there in chunks.
"""

from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel

from lightning_marlhf.models.backbone import hidden_states
from lightning_marlhf.models.fsdp import Gathering
from lightning_marlhf.ops import logprobs
from lightning_marlhf.types import TokenLogprobs

# Settings by which some families scale their logits after the head (Cohere, Granite, Falcon-H1).
_LOGIT_SCALES = ("logit_scale", "logits_scaling", "lm_head_multiplier")


class Policy(nn.Module):
    """A causal language model as RLHF sees it.

    Args:
        lm: the Hugging Face model.
        chunk: how many tokens' logits exist at once.

    Attributes:
        doors: the ways in beside ``forward``, before which sharded weights are gathered.
        gathering: how they are gathered for a rollout, where they are sharded.

    Raises:
        ValueError: if the family scales its logits in a way that ``forward`` does not reproduce.
    """

    doors = ("generate",)
    gathering: Gathering = "rollout"

    def __init__(self, lm: PreTrainedModel, *, chunk: int = 1024) -> None:
        super().__init__()
        for name in _LOGIT_SCALES:
            if hasattr(lm.config, name):
                raise ValueError(
                    f"{lm.config.model_type} models scale their logits by {name}, which is not "
                    "supported: expected a family such as Gemma, Gemma-2, Llama, Qwen or GPT-2."
                )
        self.lm = lm
        self.chunk = chunk

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        *,
        num_targets: int,
        temperature: float,
        with_entropy: bool = True,
    ) -> TokenLogprobs:
        """Take the log-probabilities of each row's last tokens, in fp32 or better, with gradient.

        Args:
            input_ids: [batch, seq]: left padding, prompt, response, right padding.
            attention_mask: [batch, seq], True on real tokens.
            num_targets: how many tokens at the end of each row to judge, padding included.
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
        return logprobs.from_hidden(
            hidden,
            head.weight,
            input_ids[:, -num_targets:],
            bias=head.bias,
            temperature=temperature,
            softcap=getattr(self.lm.config, "final_logit_softcapping", None),
            chunk=self.chunk,
            with_entropy=with_entropy,
        )

    def generate(self, input_ids: Tensor, attention_mask: Tensor, **kwargs: Any) -> Tensor:
        """Call the model's own ``generate``: [batch, seq] -> [batch, seq + new]."""
        return self.lm.generate(input_ids=input_ids, attention_mask=attention_mask, **kwargs)


def check_num_targets(input_ids: Tensor, num_targets: int) -> None:
    """Refuse a number of targets for which there is no state before the first one."""
    width = input_ids.shape[1]
    if not 1 <= num_targets < width:
        raise ValueError(
            f"num_targets: expected 1 to {width - 1} for rows of {width}, got {num_targets}"
        )
