"""Rollouts whose scorer fails are left out and counted, and the run goes on."""

import pytest
import torch

from lightning_marlhf.rollout.persistence import Patience, ScoringError
from lightning_marlhf.rollout.scoring import TinyTLDRGold
from tests.modules.tiny_runs import data, fit


class Judge(TinyTLDRGold):
    """Fails in some rollouts, in every attempt."""

    def __init__(self, *failing):
        super().__init__("judge")
        self.failing = failing
        self.asked = 0

    def submit(self, rollout):
        self.asked += 1
        if self.asked - 1 in self.failing:
            raise ConnectionError("the judge is away")
        return super().submit(rollout)


@pytest.fixture
def run(make_ppo, tmp_path):
    def fit_with(*failing, rollouts=4, **patience):
        once = Patience(attempts=1, wait_s=0, **patience)
        module = make_ppo(scorer=Judge(*failing), monitors=[], patience=once)
        trainer = fit(module, data("ppo"), tmp_path, steps=2 * rollouts)
        return module, trainer

    return fit_with


def test_a_rollout_without_scores_is_skipped_with_its_updates_and_counted(run):
    module, trainer = run(1)
    assert trainer.global_step == 8
    assert trainer.callback_metrics["skipped/rollouts"] == 1
    assert module.episodes == 3 * 8
    steps = {int(state["step"]) for state in trainer.optimizers[0].state.values()}
    assert steps == {6}
    assert torch.stack([w.isfinite().all() for w in module.parameters()]).all()


def test_more_than_the_limit_in_a_row_end_the_run(run):
    run(1, 3, max_skips_in_a_row=1)  # never two in a row
    with pytest.raises(ScoringError, match="the judge is away"):
        run(1, 2, max_skips_in_a_row=1)


def test_a_scorer_that_never_answered_ends_the_run(run):
    with pytest.raises(ScoringError, match="the judge is away"):
        run(0)
