"""Judges that see each text alone: the gold score, and reward models."""

import json
import math

import pytest
import torch

from lightning_marlhf.evaluation.judges import JudgeError, pointwise
from lightning_marlhf.evaluation.judges.pointwise import GoldJudge, RewardModelJudge
from lightning_marlhf.evaluation.pairs import Pair
from lightning_marlhf.models.network_factory import NetworkFactory
from lightning_marlhf.rollout.scoring import RewardModelScorer
from tests.published import publish

FACTS = {"who": "boss", "did": "told a lie", "when": "friday", "feel": "sad", "ask": "call"}
PAIR = Pair("1-0", "p", "x", "y")


@pytest.mark.parametrize(
    ("a", "b", "margin", "winner"),
    [(1.0, 0.5, 0.0, "a"), (0.5, 1.0, 0.0, "b"), (1.0, 1.0, 0.0, "tie"), (1.0, 0.5, 0.5, "tie")],
)
def test_the_higher_score_wins_outside_the_margin(a, b, margin, winner):
    assert pointwise.compare(PAIR, a, b, judge="j", margin=margin).winner == winner


@pytest.mark.parametrize("score", [math.nan, math.inf])
def test_a_score_that_is_no_number_makes_no_winner(score):
    assert pointwise.compare(PAIR, score, 0.0, judge="j").winner == "invalid"


def test_gold_prefers_the_summary_with_more_facts():
    pairs = [
        Pair("1-0", "p", "my boss. told a lie.", "my boss.", FACTS),  # 2 against 1
        Pair("2-0", "p", "it rained a lot.", "", FACTS),  # -1/2 against 0
        Pair("3-0", "p", "i feel sad.", "my boss.", FACTS),
    ]
    verdicts = list(GoldJudge().judge(pairs))
    assert [v.winner for v in verdicts] == ["a", "b", "tie"]
    assert json.loads(verdicts[1].raw) == {"a": -0.5, "b": 0.0}
    assert {v.order for v in verdicts} == {""}


@pytest.mark.parametrize("reference", [None, "a summary", {"who": "boss"}])
def test_gold_judges_nothing_but_tiny_tldr(reference):
    with pytest.raises(JudgeError, match=r"expected `reference`"):
        list(GoldJudge().judge([Pair("1-0", "p", "a", "b", reference)]))


@pytest.fixture(scope="module")
def scorer(tmp_path_factory):
    folder = publish(tmp_path_factory.mktemp("rm") / "rm", "reward_model", pad="<eos>")
    scorer = RewardModelScorer(str(folder))
    scorer.load(NetworkFactory(torch.device("cpu")))
    return scorer


def test_a_reward_model_prefers_the_higher_score(scorer):
    pairs = [Pair(f"{n}-0", "what is it?", f" it is {'a ' * n}cat.", " is it?") for n in range(5)]
    verdicts = list(RewardModelJudge(scorer, name="x", batch_size=4).judge(pairs))
    assert [v.pair_id for v in verdicts] == [pair.pair_id for pair in pairs]
    for pair, verdict in zip(pairs, verdicts, strict=True):
        a, b = scorer.score_texts([pair.prompt] * 2, [pair.a, pair.b], [True] * 2).tolist()
        assert json.loads(verdict.raw) == pytest.approx({"a": a, "b": b}, abs=1e-5)
        assert verdict.winner == ("a" if a > b else "b")
    assert {v.judge for v in verdicts} == {"rm:x"}


def test_a_response_that_was_cut_off_is_scored_without_eos(scorer):
    pair = Pair("1-0", "p", "it is", "it is a cat", ended=(True, False))
    scores = json.loads(next(RewardModelJudge(scorer, name="x").judge([pair])).raw)
    expected = scorer.score_texts(["p"] * 2, [pair.a, pair.b], [True, False]).tolist()
    assert list(scores.values()) == pytest.approx(expected, abs=1e-5)


def test_a_response_is_scored_by_the_tokens_that_were_sampled(scorer):
    prompt, *sampled = (
        scorer.tokenizer(text, add_special_tokens=special).input_ids
        for text, special in (("p", True), ("it", False), (" i", False), ("s", False))
    )
    ids = (prompt, [i for piece in sampled for i in piece])
    pair = Pair("1-0", "p", "it is", "it is", ended=(False, False), ids=(ids, None))
    scores = json.loads(next(RewardModelJudge(scorer, name="x").judge([pair])).raw)
    by_ids, by_text = scorer.score_texts(["p"] * 2, ["it is"] * 2, [False] * 2, ids=[ids, None])
    assert by_ids != by_text
    assert list(scores.values()) == pytest.approx([by_ids.item(), by_text.item()], abs=1e-5)


def test_turning_a_pair_round_turns_the_verdict_round(scorer):
    judge = RewardModelJudge(scorer, name="x")
    one, two = (next(judge.judge([Pair("1-0", "p", *texts)])) for texts in (("it is", "is"), ("is", "it is")))
    assert {one.winner, two.winner} == {"a", "b"}


def test_a_margin_is_part_of_the_judges_name(scorer):
    judge = RewardModelJudge(scorer, name="x", margin=1e9)
    assert next(judge.judge([PAIR])).winner == "tie"
    assert judge.name == "rm:x (margin 1e+09)"


def test_a_pair_that_is_too_long_is_invalid_and_its_neighbours_are_judged(scorer):
    pairs = [Pair("1-0", "p", "a", "b"), Pair("2-0", "p", "x" * 500, "b"), Pair("3-0", "p", "c", "d")]
    verdicts = list(RewardModelJudge(scorer, name="x").judge(pairs))
    assert [v.winner == "invalid" for v in verdicts] == [False, True, False]
    assert "tokens" in verdicts[1].error
