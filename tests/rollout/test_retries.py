"""Scorers that fail, and what they may give: numbers, one for each response."""

import math
from dataclasses import replace

import pytest
import torch

from lightning_marlhf.rollout.retries import RetryingScorer, RetryPolicy, ScoringError, wait_for_all
from lightning_marlhf.rollout.scoring import Ready, Scorer, Scores
from tests.rollout.pieces import make_tokenizer, rollout

SCORES = Scores(torch.ones(2), torch.ones(2, dtype=torch.bool), ({"judge": 1.0},) * 2)
ROLLOUT = rollout(make_tokenizer(["a"]), ["a"], ["a"])
pytestmark = pytest.mark.filterwarnings("ignore:scorer judge failed in attempt")


class Flaky(Scorer):
    """Does what it is told, one thing each time it is asked: raise in `submit`, raise in `result`, or reply."""

    name = "judge"

    def __init__(self, *plan):
        self.plan = list(plan)

    def submit(self, rollout, *, evaluating):
        now = self.plan.pop(0)
        if now == "submit":
            raise ConnectionError("no route")
        self.now = now
        return Ready(SCORES) if now == "reply" else self

    def result(self):
        raise self.now


@pytest.fixture
def naps(monkeypatch):
    taken = []
    monkeypatch.setattr("lightning_marlhf.rollout.retries.time.sleep", taken.append)
    return taken


def test_a_scorer_that_raises_is_asked_again_after_ever_longer_waits(naps):
    scorer = Flaky("submit", TimeoutError("too slow"), "submit", "reply")
    retrying = RetryingScorer(scorer, RetryPolicy(attempts=4, wait_s=0.5))
    assert retrying.submit(ROLLOUT, evaluating=False).result().values.tolist() == [1, 1]
    assert naps == [0.5, 1.0, 2.0]
    assert scorer.plan == []


def test_after_the_last_attempt_it_is_given_up_with_what_was_wrong(naps):
    retrying = RetryingScorer(Flaky("submit", "submit", "reply"), RetryPolicy(attempts=2))
    with pytest.raises(ScoringError, match=r"scorer judge failed in attempt 2 of 2: .*no route"):
        retrying.submit(ROLLOUT, evaluating=False).result()
    assert naps == [1.0]


def test_a_mistake_in_the_settings_is_raised_at_once_until_there_was_an_answer(naps):
    wrong = ValueError("expected prompts of problems")
    retrying = RetryingScorer(Flaky(wrong, "reply", wrong, "reply"), RetryPolicy())
    with pytest.raises(ValueError, match="scorer judge: expected prompts of problems"):
        retrying.submit(ROLLOUT, evaluating=False).result()
    assert naps == []
    assert retrying.submit(ROLLOUT, evaluating=False).result().values.tolist() == [1, 1]
    # an error after the first reply is retried
    assert retrying.submit(ROLLOUT, evaluating=False).result().values.tolist() == [1, 1]
    assert naps == [1.0]


def test_all_ranks_give_a_rollout_up_together(naps):
    def other_rank_failed(failed):
        return failed + 1.0

    for scorer, match in ((Flaky("reply"), "of another process"), (Flaky("submit"), "no route")):
        pending = [RetryingScorer(scorer, RetryPolicy(attempts=1)).submit(ROLLOUT, evaluating=False)]
        with pytest.raises(ScoringError, match=match):
            wait_for_all(pending, all_reduce_sum=other_rank_failed, device=torch.device("cpu"))


def test_nonsense_is_refused():
    with pytest.raises(ValueError, match="attempts: expected at least 1"):
        RetryPolicy(attempts=0)


class Gives(Scorer):
    name = "judge"

    def __init__(self, scores):
        self.scores = scores

    def submit(self, rollout, *, evaluating):
        return Ready(self.scores)


def ask(scores):
    scorer = RetryingScorer(Gives(scores), RetryPolicy(attempts=1))
    return scorer.submit(ROLLOUT, evaluating=False).result()


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_score_that_is_no_finite_number_is_invalid_and_scorer_and_prompt_are_named(bad):
    with pytest.warns(UserWarning, match=f"scorer judge gave {bad} for the response to 1 .* 1 of 2 "):
        scores = ask(Scores(torch.tensor([2.0, bad]), SCORES.valid, ({"judge": 2.0, "x": bad},) * 2))
    assert scores.valid.tolist() == [True, False]
    assert scores.values[0] == 2
    assert all(math.isnan(row["x"]) for row in scores.details)


def test_a_row_that_its_scorer_calls_invalid_needs_no_number_and_no_warning(recwarn):
    scores = ask(replace(SCORES, values=torch.tensor([1, math.nan]), valid=torch.tensor([True, False])))
    assert scores.valid.tolist() == [True, False]
    assert not recwarn.list


def test_whole_numbers_lists_and_graphs_are_scores_too():
    for values in (torch.tensor([1, 1]), [1, 1], torch.ones(2, dtype=torch.float16, requires_grad=True)):
        scores = ask(replace(SCORES, values=values))
        assert (scores.values.dtype, scores.values.tolist()) == (torch.float32, [1, 1])
        assert not scores.values.requires_grad


@pytest.mark.parametrize(
    ("scores", "match"),
    [
        ([1.0, 1.0], "expected Scores, got list"),
        (replace(SCORES, values=torch.ones(3)), r"each of 2 responses, got \[3\], \[2\] and 2"),
        (replace(SCORES, values=torch.ones(2, 1)), r"got \[2, 1\], \[2\] and 2"),
        (replace(SCORES, valid=torch.ones(1, dtype=torch.bool)), r"got \[2\], \[1\] and 2"),
        (replace(SCORES, valid=torch.ones(2)), r"expected valid to be bool, got torch\.float32"),
        (replace(SCORES, details=()), r"got \[2\], \[2\] and 0"),
        (replace(SCORES, details=({"judge": "good"},) * 2), "details of numbers by name"),
        (replace(SCORES, values=["good", "bad"]), "expected numbers"),
        (replace(SCORES, values=torch.ones(2, dtype=torch.complex64)), "expected real numbers"),
        (replace(SCORES, details=({}, {"kl": 9.0})), r"details are called \['kl'\]"),
    ],
)
def test_what_is_not_one_number_for_each_response_is_refused_by_the_scorer_s_name(scores, match):
    with pytest.raises(ValueError, match=f"scorer judge: .*{match}"):
        ask(scores)


def test_scores_that_were_forgotten_to_be_made_pending_are_refused():
    scorer = RetryingScorer(Gives(None), RetryPolicy(attempts=1))
    scorer.scorer.submit = lambda rollout, evaluating: [1.0, 1.0]
    with pytest.raises(ValueError, match=r"scorer judge: expected pending scores.* got list"):
        scorer.submit(ROLLOUT, evaluating=False).result()


def test_a_mistake_on_one_rank_ends_the_run_on_all(naps):
    """Every rank says whether it failed before any of them raises; else the others would wait for it."""
    told = []

    def together(flags):
        told.append(flags)
        return sum(told)

    for scorer, error, match in (
        (Flaky(ValueError("no facts")), ValueError, "scorer judge: no facts"),
        (Flaky("reply"), ScoringError, "of another process"),
    ):
        pending = [RetryingScorer(scorer, RetryPolicy(attempts=1)).submit(ROLLOUT, evaluating=False)]
        with pytest.raises(error, match=match) as caught:
            wait_for_all(pending, all_reduce_sum=together, device=torch.device("cpu"))
    assert caught.value.final
