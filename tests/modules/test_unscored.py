"""Responses and rollouts without a score are masked out and counted, and the run continues."""

import math
from dataclasses import replace

import pytest
import torch

from lightning_marlhf.callbacks.guards import KLGuard, NaNGuard
from lightning_marlhf.modules.kl_controller import KLControl
from lightning_marlhf.modules.manual_optimization import AllUpdatesSkippedError
from lightning_marlhf.modules.ppo import PPO
from lightning_marlhf.rollout.retries import RetryPolicy, ScoringError
from lightning_marlhf.rollout.scoring import Ready, TinyTLDRGold
from lightning_marlhf.rollout.settings import Shaping
from tests.modules.tiny_runs import Keep, data, fit

pytestmark = pytest.mark.filterwarnings("ignore:scorer .* gave")


class Judge(TinyTLDRGold):
    """Fails in some rollouts, in every attempt."""

    def __init__(self, *failing):
        super().__init__("judge")
        self.failing = failing
        self.asked = 0

    def submit(self, rollout, *, evaluating):
        self.asked += 1
        if self.asked - 1 in self.failing:
            raise ConnectionError("the judge is away")
        return super().submit(rollout, evaluating=evaluating)


@pytest.fixture
def run(make_ppo, tmp_path):
    def fit_with(*failing, rollouts=4, **patience):
        once = RetryPolicy(attempts=1, wait_s=0, **patience)
        module = make_ppo(scorer=Judge(*failing), auxiliary_scorers=[], retry_policy=once)
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


class Partial(TinyTLDRGold):
    """Gives ``number`` to some rows of each rollout, or calls them invalid."""

    def __init__(self, rows, *, number=math.nan, says_so=False, name="judge"):
        super().__init__(name)
        self.rows, self.number, self.says_so = list(rows), number, says_so

    def submit(self, rollout, *, evaluating):
        scores = super().submit(rollout, evaluating=evaluating).result()
        values, valid = scores.values.clone(), scores.valid.clone()
        values[self.rows] = self.number
        valid[self.rows] = not self.says_so
        details = tuple({self.name: value} for value in values.tolist())
        return Ready(replace(scores, values=values, valid=valid, details=details))


@pytest.fixture
def run_partial(make_ppo, tmp_path):
    def fit_with(scorer, *, steps=1, auxiliary_scorers=(), validate=0, **settings):
        settings = {"ppo": PPO(minibatches=1), "retry_policy": RetryPolicy(attempts=1)} | settings
        module, keep = (make_ppo(scorer=scorer, auxiliary_scorers=list(auxiliary_scorers), **settings), Keep())
        guards = [keep, NaNGuard(), KLGuard()]
        options = {"limit_val_batches": validate, "val_check_interval": 1 if validate else None}
        trainer = fit(module, data("ppo"), tmp_path, steps=steps, callbacks=guards, **options)
        return module, keep, trainer

    return fit_with


def weights(module):
    return torch.cat([weight.detach().flatten() for weight in module.parameters()])


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf, 1e30])
def test_an_answer_without_a_finite_score_is_left_out_of_every_mean(run_partial, number):
    _, keep, _ = run_partial(Partial([0, 3], number=number), steps=2)
    for found, logged in zip(keep.rollouts, keep.logged, strict=True):
        kept = found.rows([1, 2, 4, 5, 6, 7])
        lengths = kept.rollout.response_mask.sum(dim=1)
        assert logged["objective/scores_invalid"] == 2 / 8
        assert logged["objective/scores"] == pytest.approx(kept.raw_scores.mean().item())
        assert logged["objective/judge"] == pytest.approx(kept.raw_scores.mean().item())
        assert logged["objective/kl"] == pytest.approx(kept.kl.sum(dim=1).mean().item(), abs=1e-6)
        assert logged["response_length/mean"] == pytest.approx(lengths.float().mean().item())
        assert logged["response_length/min"] == lengths.min() > 0
        assert logged["macro/count_mean"] == pytest.approx(kept.macro_actions.count.float().mean().item())
        assert logged["val/num_eos_tokens"] == pytest.approx(kept.rollout.ended.sum().item())
        assert found.rollout.response_mask.any(dim=1).all()  # masks mean what they always mean


def test_what_is_learnt_is_what_the_valid_rows_alone_teach(run_partial):
    """Whatever stands in the place of a score, in passes that hold valid rows and in passes that hold none."""
    nowhere = {"kl": KLControl(target=1.0, horizon=100), "shaping": Shaping(normalize=True)}
    whole, _, _ = run_partial(Partial([0, 1, 5]), micro_batch_size=8, steps=2, **nowhere)
    for scorer, rows in ((Partial([0, 1, 5]), 2), (Partial([0, 1, 5], number=99.0, says_so=True), 8)):
        module, _, _ = run_partial(scorer, micro_batch_size=rows, steps=2, **nowhere)
        torch.testing.assert_close(weights(module), weights(whole), atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(module.score_normalizer.var, whole.score_normalizer.var)
    assert whole.score_normalizer.count == 2 * 5


@pytest.mark.parametrize("level", ["token", "macro"])
@pytest.mark.parametrize("reduction", ["token", "sequence"])
def test_rows_without_a_score_count_in_no_denominator(make_ppo, tmp_path, level, reduction):
    def learn(minibatches):
        settings = PPO(minibatches=1, ratio_level=level, loss_reduction=reduction)
        module = make_ppo(scorer=Partial([0, 3]), auxiliary_scorers=[], ppo=settings)
        if minibatches:
            module._minibatches = minibatches
        fit(module, data("ppo"), tmp_path, steps=1)
        return weights(module)

    torch.testing.assert_close(learn(None), learn(lambda size: [[1, 2, 4, 5, 6, 7]]), atol=1e-5, rtol=1e-5)


def test_a_minibatch_without_any_score_changes_nothing_and_is_counted(run_partial):
    settings = {"steps": 5 * 8, "ppo": PPO(minibatches=8), "kl": KLControl(target=1.0)}
    module, keep, trainer = run_partial(Partial(range(5), says_so=True), **settings)
    assert trainer.callback_metrics["skipped/updates"] == 5 * 5
    assert trainer.global_step == 5 * 8
    assert all(math.isfinite(x) for logged in keep.logged for x in logged.values())
    steps = {int(state["step"]) for state in trainer.optimizers[0].state.values()}
    assert steps == {5 * 3}
    assert module.episodes == 5 * 8


@pytest.mark.parametrize("says_so", [False, True])
def test_a_run_in_which_nothing_was_learnt_is_a_mistake(run_partial, says_so):
    with pytest.raises(AllUpdatesSkippedError, match="all 2 updates of the run were skipped"):
        run_partial(Partial(range(8), says_so=says_so), steps=2)


def test_rollouts_without_one_finite_score_end_the_run_and_say_whose_they_were(run_partial):
    patience = RetryPolicy(attempts=1, max_skips_in_a_row=2)
    with pytest.raises(
        ScoringError, match=r"gave nan for the response to tiny-tldr/.* 8 of 8 responses.*; 3 rollouts in a row"
    ):
        run_partial(Partial(range(8)), steps=3, retry_policy=patience)


def test_an_auxiliary_scorer_s_missing_numbers_are_counted_and_nothing_else_changes(run_partial):
    scorer, monitor = TinyTLDRGold("judge"), Partial([0, 3], name="watch")
    module, keep, _ = run_partial(scorer, auxiliary_scorers=[monitor])
    alone, _, _ = run_partial(scorer)
    (logged,), (found,) = keep.logged, keep.rollouts
    assert found.valid.all()
    assert logged["objective/watch_invalid"] == 2 / 8
    assert "objective/judge_invalid" not in logged
    assert "objective/scores_invalid" not in logged
    numbers = [row["watch"] for row in found.details if not math.isnan(row["watch"])]
    assert logged["objective/watch"] == pytest.approx(sum(numbers) / 6)
    assert torch.equal(weights(module), weights(alone))


def test_held_out_answers_without_a_score_are_left_out_and_counted(run_partial):
    _, _, trainer = run_partial(Partial([0, 3]), validate=1)
    logged = trainer.callback_metrics
    assert logged["eval/scores_invalid"] == 2 / 8
    assert logged["eval/scores"].isfinite()
    assert logged["eval/response_length"] > 0


def test_shares_that_were_logged_once_are_logged_as_zero_when_all_is_well_again(run_partial):
    class Once(Partial):
        def submit(self, rollout, *, evaluating):
            pending = super().submit(rollout, evaluating=evaluating)
            self.rows = []
            return pending

    _, keep, _ = run_partial(Once([0]), steps=2)
    assert [logged["objective/scores_invalid"] for logged in keep.logged] == [1 / 8, 0]


def test_numbers_that_some_answers_have_are_means_over_those_answers(run_partial):
    class Sometimes(TinyTLDRGold):
        def submit(self, rollout, *, evaluating):
            scores = super().submit(rollout, evaluating=evaluating).result()
            first, *others = scores.details
            return Ready(replace(scores, details=({**first, "extra": 2.0}, *others)))

    _, keep, _ = run_partial(Sometimes("judge"))
    assert keep.logged[0]["objective/extra"] == 2
    assert keep.logged[0]["objective/extra_invalid"] == 7 / 8
