"""Judges that a YAML names are built of plain settings, and fit the interface by which it finds them."""

from typing import get_args, get_type_hints

import pytest
import torch
from jsonargparse import ArgumentParser

from lightning_marlhf.callbacks.win_rate import WinRateCallback
from lightning_marlhf.evaluation.criteria import CRITERIA
from lightning_marlhf.evaluation.judges.cache import default_path
from lightning_marlhf.evaluation.judges.configurable import JudgeByLanguageModel
from lightning_marlhf.evaluation.pairs import Pair
from lightning_marlhf.models.network_factory import NetworkFactory
from lightning_marlhf.rollout.scoring import RewardModelScorer
from tests.published import publish

JUDGES = "lightning_marlhf.evaluation.judges"


def build(class_path, **settings):
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(WinRateCallback, "win_rate")
    judge = {"class_path": f"{JUDGES}.{class_path}", "init_args": settings}
    return parser.instantiate(parser.parse_object({"win_rate": {"judge": judge}})).win_rate.judge


def test_a_reward_model_is_loaded_when_the_run_begins(tmp_path):
    model = publish(tmp_path / "rm", "reward_model")
    judge = build("configurable.JudgeByRewardModel", model=str(model))
    judge.prepare(torch.device("cpu"))
    scorer = RewardModelScorer(str(model))
    scorer.load(NetworkFactory(torch.device("cpu")))
    a, b = scorer.score_texts(["it", "it"], ["is", "a cat"], [True, True]).tolist()
    (verdict,) = judge.judge([Pair("p", "it", "is", "a cat")])
    assert (verdict.winner, verdict.judge) == ("a" if a > b else "b", f"rm:{model}")


def test_a_missing_reward_model_is_told_when_the_run_begins():
    judge = build("configurable.JudgeByRewardModel", model="nowhere/at/all")
    with pytest.raises(ValueError, match="nowhere/at/all"):
        judge.prepare(torch.device("cpu"))


def test_a_language_model_is_shown_one_order_where_asked_to(tmp_path):
    settings = {"base_url": "http://127.0.0.1:9/v1", "task": "tldr", "orders": "one"}
    judge = build("configurable.JudgeByLanguageModel", model="m", cache=str(tmp_path / "c"), **settings)
    assert judge.name.startswith("openai:m")
    assert len(judge.orders(Pair("p", "it", "is", "a cat"))) == 1


def test_the_gold_score_needs_no_settings():
    assert build("pointwise.GoldJudge").name == "gold"


def test_replies_are_shared_by_default(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_path() == tmp_path / "lightning_marlhf/judge.sqlite"


def test_every_task_with_criteria_can_be_named_and_has_its_instructions(tmp_path):
    tasks = get_args(get_type_hints(JudgeByLanguageModel.__init__)["task"])
    assert set(tasks) == set(CRITERIA)
    settings = {"model": "m", "base_url": "http://127.0.0.1:9/v1", "cache": str(tmp_path / "c")}
    for task in tasks:
        judge = build("configurable.JudgeByLanguageModel", task=task, **settings)
        assert judge.prompt_version.startswith(f"{CRITERIA[task].instructions}@")
