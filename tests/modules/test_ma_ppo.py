"""MA-PPO: what is logged, what learns, what a checkpoint holds."""

import math
from dataclasses import replace

import pytest
import torch
from lightning.pytorch import Callback

from lightning_marlhf.modules.kl_controller import KLControl, KLController, ScoreNormalizer
from lightning_marlhf.modules.metrics import WeightedMeans, add_policy_clipping
from lightning_marlhf.modules.optimization import Optimization
from lightning_marlhf.modules.ppo import PPO
from lightning_marlhf.rollout.parsing import NoTreeError, Parser
from lightning_marlhf.rollout.scoring import TinyTLDRGold
from lightning_marlhf.rollout.settings import Credit, Shaping
from lightning_marlhf.rollout.termination import Parsing
from tests.modules.tiny_runs import FAST, Keep, data, fit

LOGGED = [
    "objective/kl",
    "objective/entropy",
    "objective/non_score_reward",
    "objective/rlhf_reward",
    "objective/scores",
    "objective/rm",
    "objective/gold",
    "objective/kl_coefficient",
    "policy/approxkl_avg",
    "policy/clipfrac_avg",
    "policy/entropy_avg",
    "policy/grad_norm",
    "critic/grad_norm",
    "critic/vf_explained_var",
    "loss/policy_avg",
    "loss/value_avg",
    "val/clipfrac_avg",
    "val/ratio",
    "val/ratio_var",
    "val/num_eos_tokens",
    "lr",
    "lr_critic",
    "episode",
    "response_length/mean",
    "response_length/max",
    "response_length/min",
    "response_length/clip_ratio",
    "timing_s/generation",
    "timing_s/scoring",
    "timing_s/logprobs",
    "timing_s/termination",
    "timing_s/update",
    "perf/throughput",
    "macro/length_mean",
    "macro/length_max",
    "macro/count_mean",
    "macro/advantage_var",
]


def test_everything_that_people_look_for_is_logged(make_ppo, tmp_path):
    trainer = fit(make_ppo(), data("ppo"), tmp_path, steps=4)
    metrics = trainer.callback_metrics
    assert set(LOGGED) <= set(metrics)
    assert all(torch.isfinite(value) for value in metrics.values())
    assert metrics["episode"] == 16
    assert metrics["macro/length_max"] <= 3
    assert "objective/scores_clamped" not in metrics


def test_the_share_of_clamped_scores_is_logged_where_there_is_a_clamp(make_ppo, tmp_path):
    trainer = fit(make_ppo(shaping=Shaping(clamp=1e-6)), data("ppo"), tmp_path, steps=2)
    assert trainer.callback_metrics["objective/scores_clamped"] == 1


def test_before_any_update_ratio_is_1_and_kl_is_0(make_ppo, tmp_path):
    frozen = Optimization(lr=0.0, schedule="constant")
    trainer = fit(make_ppo(optimization=frozen), data("ppo"), tmp_path, steps=4)
    metrics = trainer.callback_metrics
    assert metrics["val/ratio"] == pytest.approx(1, abs=1e-5)
    assert metrics["policy/approxkl_avg"] == pytest.approx(0, abs=1e-9)
    assert metrics["policy/clipfrac_avg"] == 0
    assert metrics["objective/kl"] == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize("level", ["token", "macro"])
def test_policy_and_critic_both_learn(make_ppo, tmp_path, level):
    module = make_ppo(ppo=PPO(epochs=2, minibatches=2, ratio_level=level))
    fit(module, data("ppo"), tmp_path, steps=4)
    fresh = make_ppo()
    fit(fresh, data("ppo"), tmp_path, steps=0)
    for name in ("policy", "critic"):
        pairs = zip(getattr(module, name).parameters(), getattr(fresh, name).parameters(), strict=True)
        assert any(not torch.equal(new, old) for new, old in pairs), name


def test_critic_warm_up_leaves_the_policy_alone(make_ppo, tmp_path):
    module = make_ppo(ppo=PPO(minibatches=2, critic_warmup=2))
    before = {}

    def remember(name):
        before[name] = [w.detach().clone() for w in getattr(module, name).parameters()]

    module.configure_model_was = module.configure_model

    def configure_model():
        module.configure_model_was()
        for name in ("policy", "critic"):
            before.get(name) or remember(name)

    module.configure_model = configure_model
    fit(module, data("ppo"), tmp_path, steps=2)
    assert all(torch.equal(a, b) for a, b in zip(before["policy"], module.policy.parameters(), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(before["critic"], module.critic.parameters(), strict=True))


RATES = Optimization(
    lr=1e-3, critic_lr=2e-3, schedule="linear", warmup_steps=2, critic_warmup_steps=1, critic_schedule="constant"
)


def test_the_policy_s_schedule_begins_when_the_policy_does_and_the_critic_has_its_own(make_ppo, tmp_path):
    """Of 8 updates the policy makes the last 4: warm-up 1/3, 2/3, then down from 1 to 0 in two."""
    keep, module = Keep(), make_ppo(ppo=PPO(critic_warmup=4), optimization=RATES)
    fit(module, data("ppo"), tmp_path, steps=8, callbacks=[keep])
    rates, critic_rates = ([each[name] for each in keep.logged] for name in ("lr", "lr_critic"))
    assert rates == pytest.approx([0, 0, 0, 0, 1e-3 / 3, 2e-3 / 3, 1e-3, 0.5e-3])
    assert critic_rates == pytest.approx([1e-3, *[2e-3] * 7])


def test_a_run_resumed_in_the_policy_s_warm_up_goes_on_with_it_and_with_its_new_settings(make_ppo, tmp_path):
    class Stop(Callback):
        def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
            if trainer.global_step == 5:
                trainer.save_checkpoint(tmp_path / "last.ckpt")
                trainer.should_stop = True

    settings = {"ppo": PPO(critic_warmup=4)}
    fit(make_ppo(optimization=RATES, **settings), data("ppo"), tmp_path, steps=8, callbacks=[Stop()])
    other = replace(RATES, critic_lr=1e-2, critic_weight_decay=0.1)
    keep = Keep()
    resumed = fit(
        make_ppo(optimization=other, **settings),
        data("ppo"),
        tmp_path,
        steps=8,
        ckpt_path=tmp_path / "last.ckpt",
        callbacks=[keep],
    )
    assert [logged["lr"] for logged in keep.logged] == pytest.approx([2e-3 / 3, 1e-3, 0.5e-3])
    assert [logged["lr_critic"] for logged in keep.logged] == pytest.approx([1e-2] * 3)
    decays = {group["name"]: group["weight_decay"] for group in resumed.optimizers[0].param_groups}
    assert decays == {"policy": 0, "policy_vectors": 0, "critic": 0.1, "critic_vectors": 0}


def test_the_critic_s_gradients_are_clipped_to_its_own_norm(make_ppo, tmp_path):
    def moments(**norms):
        clipped = replace(FAST, max_grad_norm=0.1, **norms)
        module = make_ppo(optimization=clipped, ppo=PPO())
        state = fit(module, data("ppo"), tmp_path, steps=1).optimizers[0].state
        return {
            name: torch.stack([state[w]["exp_avg"].norm() for w in net.parameters()]).norm().item()
            for name, net in module.networks().items()
        }

    # the first moment after one update is (1 - beta_1) times the clipped gradient
    assert moments() == pytest.approx({"policy": 0.01, "critic": 0.01}, rel=1e-4)
    assert moments(critic_max_grad_norm=0.2) == pytest.approx({"policy": 0.01, "critic": 0.02}, rel=1e-4)


def test_the_banner_says_how_the_learning_rates_go(make_ppo, tmp_path):
    module = make_ppo(ppo=PPO(critic_warmup=4), optimization=RATES)
    fit(module, data("ppo"), tmp_path, steps=8)
    assert module.describe()["updates"] == "8, policy waits 4, warm-up 2, then linear; critic warm-up 1, then constant"


def test_checkpoints_hold_what_learns_and_what_adapts_but_no_frozen_model(make_ppo, tmp_path):
    trainer = fit(make_ppo(shaping=Shaping(normalize=True)), data("ppo"), tmp_path, steps=2)
    trainer.save_checkpoint(tmp_path / "x.ckpt")
    state = torch.load(tmp_path / "x.ckpt", weights_only=False)["state_dict"]
    assert {name.split(".")[0] for name in state} == {
        "policy",
        "critic",
        "kl_controller",
        "score_normalizer",
        "episodes",
    }
    assert state["score_normalizer.count"] == 8


def test_held_out_prompts_are_answered_the_same_way_every_time(make_ppo, tmp_path):
    module = make_ppo(optimization=Optimization(lr=0.0, schedule="constant"))
    trainer = fit(module, data("ppo"), tmp_path, steps=2, limit_val_batches=1, val_check_interval=1)
    first = {k: v for k, v in trainer.callback_metrics.items() if k.startswith("eval/")}
    trainer.validate(module, datamodule=data("ppo"), verbose=False)
    assert first.keys() == {"eval/kl", "eval/scores", "eval/response_length", "eval/ended", "eval/rm", "eval/gold"}
    for name, value in first.items():
        assert trainer.callback_metrics[name] == pytest.approx(value.item(), abs=1e-6)


class RefusesEveryFourth(Parser):
    calls = 0

    def __call__(self, text):
        self.calls += 1
        if self.calls % 4 == 0:
            raise NoTreeError(text)
        return []


def test_the_share_of_responses_that_a_parser_refused_is_logged(make_ppo, tmp_path):
    module = make_ppo(
        termination=Parsing(RefusesEveryFourth(), num_processes=0), credit=Credit(isolate_last_token=True)
    )
    metrics = fit(module, data("ppo"), tmp_path, steps=2).callback_metrics
    assert metrics["macro/parse_failures"] == 2 / 8
    without = fit(make_ppo(), data("ppo"), tmp_path, steps=2).callback_metrics
    assert "macro/parse_failures" not in without


def test_a_parser_that_is_not_there_fails_before_the_first_rollout(make_ppo, tmp_path):
    class Absent(RefusesEveryFourth):
        def prepare(self):
            raise ValueError("no models")

    module = make_ppo(termination=Parsing(Absent(), num_processes=0))
    with pytest.raises(ValueError, match="no models"):
        fit(module, data("ppo"), tmp_path, steps=2)
    assert module.trainer.global_step == 0


def test_a_rollout_that_cannot_be_cut_evenly_is_refused(make_ppo, tmp_path):
    with pytest.raises(ValueError, match="rollout of 8 rows cannot be cut into 3"):
        fit(make_ppo(ppo=PPO(minibatches=3)), data("ppo"), tmp_path, steps=3)


def test_a_run_that_ends_within_a_rollout_is_refused(make_ppo, tmp_path):
    with pytest.raises(ValueError, match=r"run of 3 updates .*ppo\.epochs"):
        fit(make_ppo(), data("ppo"), tmp_path, steps=3)


@pytest.mark.parametrize("names", [("gold", "gold"), ("kl", "gold")])
def test_scorers_need_names_of_their_own(make_ppo, names):
    scorer, monitor = (TinyTLDRGold(name) for name in names)
    with pytest.raises(ValueError, match="expected different names"):
        make_ppo(scorer=scorer, auxiliary_scorers=[monitor])


@pytest.mark.parametrize(
    "make",
    [
        lambda: PPO(epochs=0),
        lambda: PPO(clip_range=0.0),
        lambda: KLControl(coefficient=-1.0),
        lambda: KLControl(target=0.0),
        lambda: Shaping(clamp=0.0),
        lambda: Shaping(logprob_temperature=0.0),
        lambda: Credit(gamma=1.5),
        lambda: Credit(gamma=0.9, gamma_per="token", reward_pooling="equal"),
    ],
)
def test_settings_that_cannot_work_are_refused_when_they_are_read(make):
    with pytest.raises(ValueError, match="got"):
        make()


def test_clip_fractions_count_where_clipping_acts():
    """A ratio outside the range counts only where the advantage pushes it further out."""
    means = WeightedMeans()
    ratio = torch.tensor([1.5, 0.5, 0.5, 0.5, 1.1])
    advantages = torch.tensor([1.0, -1.0, -1.0, 1.0, 1.0])
    mask = torch.ones(5, dtype=torch.bool)
    add_policy_clipping(means, ratio.log(), advantages, mask, clip_range=0.2)
    assert means.compute(lambda x: x)["policy/clipfrac_avg"] == pytest.approx(3 / 5)


def test_minibatches_cover_the_rollout_once_per_epoch_in_an_order_that_follows_the_step(make_ppo):
    module = make_ppo(ppo=PPO(epochs=2, minibatches=2))
    module.trainer = type("T", (), {"global_step": 0, "world_size": 1})()
    parts = list(module._minibatches(8))
    assert [len(part) for part in parts] == [4, 4, 4, 4]
    assert sorted(parts[0] + parts[1]) == sorted(parts[2] + parts[3]) == list(range(8))
    assert parts == list(module._minibatches(8))
    module.trainer.global_step = 4
    assert parts != list(module._minibatches(8))


def test_the_kl_coefficient_follows_its_target_and_stays_without_one():
    controller = KLController(KLControl(coefficient=0.1, target=6.0, horizon=1000))
    controller.update(12.0, episodes=100)  # error 1, clipped to 0.2: 0.1 * (1 + 0.2 * 100 / 1000)
    assert controller.coefficient.item() == pytest.approx(0.102)
    controller.update(5.4, episodes=100)  # error -0.1: 0.102 * (1 - 0.01)
    assert controller.coefficient.item() == pytest.approx(0.10098)
    short = KLController(KLControl(coefficient=0.1, target=6.0, horizon=10))
    short.update(0.0, episodes=100)  # a fifth, and not 0.1 * (1 - 0.2 * 100 / 10), which pays for KL
    assert short.coefficient.item() == pytest.approx(0.08)
    fixed = KLController(KLControl(coefficient=0.1))
    fixed.update(100.0, episodes=100)
    assert fixed.coefficient.item() == 0.1


def test_scores_are_scaled_by_all_that_was_seen():
    normalizer = ScoreNormalizer()
    assert normalizer(torch.tensor([3.0])).item() == 3.0
    normalizer.observe(torch.tensor([1.0, 3.0, math.nan]), torch.tensor([True, True, False]))
    normalizer.observe(torch.tensor([5.0]), torch.tensor([True]))
    scale = torch.tensor([1.0, 3.0, 5.0]).std(correction=0)
    torch.testing.assert_close(normalizer(torch.tensor([6.0])), torch.tensor([6.0]) / scale)


def test_scores_that_are_all_equal_are_not_scaled():
    normalizer = ScoreNormalizer()
    normalizer.observe(torch.tensor([3.0, 3.0]), torch.tensor([True, True]))
    assert normalizer(torch.tensor([3.0])).item() == 3.0


def test_the_first_rollout_s_scores_are_scaled_like_all_others_and_held_out_ones_do_not_count(make_ppo, tmp_path):
    keep, module = Keep(), make_ppo(shaping=Shaping(normalize=True))
    settings = {"limit_val_batches": 1, "val_check_interval": 1, "callbacks": [keep]}
    fit(module, data("ppo"), tmp_path, steps=4, **settings)
    first, second = (each.raw_scores for each in keep.rollouts)
    for found, seen in zip(keep.rollouts, (first, torch.cat([first, second])), strict=True):
        deviation = seen.double().std(correction=0).float()
        torch.testing.assert_close(found.scores, found.raw_scores / deviation)
    assert module.score_normalizer.count == 16


def test_a_warm_up_of_the_critic_that_outlasts_the_run_is_refused(make_ppo, tmp_path):
    module = make_ppo(ppo=PPO(critic_warmup=5))
    with pytest.raises(ValueError, match=r"ppo\.critic_warmup: expected at most the 4 updates"):
        fit(module, data("ppo"), tmp_path, steps=4)
