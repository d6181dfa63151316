"""A language model with its tokenizer, ready to answer: what `generate` and `chat` share."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from transformers.generation.streamers import BaseStreamer

from lightning_marlhf.data.collate import Padder
from lightning_marlhf.data.examples import TokenizedQuestion
from lightning_marlhf.hub import chat
from lightning_marlhf.hub.tokenizer import encode_prompts, load_tokenizer
from lightning_marlhf.models.backbone import context_length
from lightning_marlhf.models.loading import load_causal_lm
from lightning_marlhf.models.policy import Policy
from lightning_marlhf.rollout.generation import SamplingSettings, generate
from lightning_marlhf.tasks.dialogue import to_turns
from lightning_marlhf.types import Rollout


class Answerer:
    """Answers prompts.

    Args:
        source: folder or Hub id.
        device: where it runs.
        dtype: of the weights.
        chat_template: it is asked in its own chat template; None: if it has one.

    Raises:
        SourceError: the model cannot be had, or has no template; one line says why.
    """

    def __init__(
        self, source: str, *, device: str, dtype: str, chat_template: bool | None = False
    ) -> None:
        self.tokenizer = load_tokenizer(source, for_training=False)
        has_template = bool(self.tokenizer.chat_template)
        self.chat_template = has_template if chat_template is None else chat_template
        lm = load_causal_lm(source, self.tokenizer, dtype=dtype)
        self.policy = Policy(lm.to(device)).eval()
        self.device = device

    @property
    def positions(self) -> float:
        """How many tokens of prompt and answer the model has room for."""
        return context_length(self.policy.lm)

    def tokenize(self, text: str) -> list[int]:
        """Tokenise a prompt: in the chat template, or as it is, with one BOS where the tokenizer puts one."""
        if self.chat_template:
            return self.tokenize_turns(to_turns(text))
        return encode_prompts(self.tokenizer, [text])[0]

    def tokenize_turns(self, turns: Sequence[Mapping[str, str]]) -> list[int]:
        """Tokenise a dialogue in the model's chat template."""
        text = chat.render(self.tokenizer, turns, answer_follows=True)
        return encode_prompts(self.tokenizer, [text], special_tokens=False)[0]

    @torch.inference_mode()
    def answer(
        self,
        rows: Sequence[TokenizedQuestion],
        *,
        settings: SamplingSettings,
        seeds: Tensor,
        streamer: BaseStreamer | None = None,
    ) -> Rollout:
        """Sample one response per row; ``seeds`` are int64 [rows]."""
        return generate(
            self.policy,
            Padder(self.tokenizer.pad_token_id).prompts(rows).to(self.device),
            tokenizer=self.tokenizer,
            settings=settings,
            seeds=seeds,
            streamer=streamer,
        )
