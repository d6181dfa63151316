import pytest
import torch

from lightning_marlhf.rollout.persistence import (
    Patience,
    PersistentScorer,
    ScoringError,
    wait_for_all,
)
from lightning_marlhf.rollout.scoring import Ready, Scorer, Scores

SCORES = Scores(torch.ones(2), torch.ones(2, dtype=torch.bool), ({"judge": 1.0},) * 2)
pytestmark = pytest.mark.filterwarnings("ignore:scorer judge failed in attempt")


class Flaky(Scorer):
    """Does what it is told, one thing each time it is asked: raise in `submit`, raise in `result`, or answer."""

    name = "judge"

    def __init__(self, *plan):
        self.plan = list(plan)

    def submit(self, rollout):
        now = self.plan.pop(0)
        if now == "submit":
            raise ConnectionError("no route")
        self.now = now
        return Ready(SCORES) if now == "answer" else self

    def result(self):
        raise self.now


@pytest.fixture
def naps(monkeypatch):
    taken = []
    monkeypatch.setattr("lightning_marlhf.rollout.persistence.time.sleep", taken.append)
    return taken


def test_a_scorer_that_raises_is_asked_again_after_ever_longer_waits(naps):
    scorer = Flaky("submit", TimeoutError("too slow"), "submit", "answer")
    persistent = PersistentScorer(scorer, Patience(attempts=4, wait_s=0.5))
    assert persistent.submit(None).result() is SCORES
    assert naps == [0.5, 1.0, 2.0]
    assert scorer.plan == []


def test_after_the_last_attempt_it_is_given_up_with_what_was_wrong(naps):
    persistent = PersistentScorer(Flaky("submit", "submit", "answer"), Patience(attempts=2))
    with pytest.raises(ScoringError, match=r"scorer judge failed in attempt 2 of 2: .*no route"):
        persistent.submit(None).result()
    assert naps == [1.0]


def test_a_mistake_in_the_settings_is_raised_at_once_until_there_was_an_answer(naps):
    wrong = ValueError("expected prompts of problems")
    persistent = PersistentScorer(Flaky(wrong, "answer", wrong, "answer"), Patience())
    with pytest.raises(ValueError, match="expected prompts of problems"):
        persistent.submit(None).result()
    assert naps == []
    assert persistent.submit(None).result() is SCORES
    assert persistent.submit(None).result() is SCORES  # a strange answer this time: asked again
    assert naps == [1.0]


def test_all_ranks_give_a_rollout_up_together(naps):
    def other_rank_failed(failed):
        return failed + 1.0

    for scorer, match in ((Flaky("answer"), "of another process"), (Flaky("submit"), "no route")):
        pending = [PersistentScorer(scorer, Patience(attempts=1)).submit(None)]
        with pytest.raises(ScoringError, match=match):
            wait_for_all(pending, all_reduce_sum=other_rank_failed, device=torch.device("cpu"))


def test_nonsense_is_refused():
    with pytest.raises(ValueError, match="attempts: expected at least 1"):
        Patience(attempts=0)
