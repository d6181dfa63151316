"""Judges for `win_rate.judge` in a run's YAML: built from plain settings, loaded when the run starts."""

from pathlib import Path
from typing import Literal

import torch

from lightning_marlhf.evaluation.criteria import Task
from lightning_marlhf.evaluation.judges import Judge, instructions
from lightning_marlhf.evaluation.judges.budget import Budget
from lightning_marlhf.evaluation.judges.cache import Cache, default_path
from lightning_marlhf.evaluation.judges.endpoint import Endpoint
from lightning_marlhf.evaluation.judges.language_model import LanguageModelJudge
from lightning_marlhf.evaluation.judges.pointwise import GoldJudge, RewardModelJudge
from lightning_marlhf.models.network_factory import NetworkFactory
from lightning_marlhf.ranges import NonNegative, PositiveInt, checked
from lightning_marlhf.rollout.scoring import RewardModelScorer

__all__ = ["GoldJudge", "JudgeByLanguageModel", "JudgeByRewardModel"]


@checked
class JudgeByRewardModel(RewardModelJudge, Judge):
    """A reward model as judge. Use one that the policy was not trained on.

    Args:
        model: Folder or Hub id of a sequence classifier.
        margin: Scores that differ by no more are a tie.
        batch_size: Responses per forward pass.
        dtype: Data type of the weights.
        chat_template: Whether it reads dialogues in its own chat template.
        label: Name or number of the label whose logit is the score, for a classifier with several.
    """

    def __init__(
        self,
        model: str,
        *,
        margin: NonNegative = 0.0,
        batch_size: PositiveInt = 32,
        dtype: str = "float32",
        chat_template: bool = False,
        label: int | str | None = None,
    ) -> None:
        scorer = RewardModelScorer(model, batch_size=batch_size, dtype=dtype, chat_template=chat_template, label=label)
        known_as = model if label is None else f"{model}#{label}"
        if chat_template:
            known_as = f"{known_as} (chat template)"
        super().__init__(scorer, name=known_as, margin=margin)
        self._to_load = scorer

    def prepare(self, device: torch.device) -> None:
        """Load the reward model."""
        self._to_load.load(NetworkFactory(device))


@checked
class JudgeByLanguageModel(LanguageModelJudge, Judge):
    """A chat model behind an OpenAI-compatible server as judge. Replies are cached.

    Args:
        model: Name of the model at the server.
        base_url: Address of the server; null: ``OPENAI_BASE_URL``, or OpenAI's.
        task: Task whose instructions the model reads.
        key_variable: Environment variable that holds the key; see ``Endpoint``.
        temperature: Sampling temperature; null: the server's default.
        orders: Whether each pair is shown in "both" orders, or in "one" by a hash.
        max_calls: Maximum number of requests in one session of the run.
        cache: SQLite file of replies; null: the one that `win-rate` uses.
    """

    def __init__(
        self,
        model: str,
        *,
        base_url: str | None = None,
        task: Task = "general",
        key_variable: str | None = None,
        temperature: NonNegative | None = 0.0,
        orders: Literal["both", "one"] = "both",
        max_calls: PositiveInt | None = None,
        cache: str | None = None,
    ) -> None:
        endpoint = Endpoint(model, base_url=base_url, key_variable=key_variable, temperature=temperature)
        super().__init__(
            endpoint,
            instructions.load(task),
            cache=Cache(Path(cache) if cache else default_path()),
            budget=Budget(max_calls=max_calls),
            orders=orders,
        )
